"""Denoise, then classify: the base classifier that is smoothed, as one module."""

from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.denoising.denoiser import Denoiser

Images = Float[torch.Tensor, "rows channels height width"]


class DenoiseThenClassify(nn.Module):
    """y → classifier(resize(clamp(denoiser(y)))). Noise goes in before everything, so radii are those of the raw image.

    The classifier normalises its input itself. What does not learn is frozen: it stays in eval mode, its parameters take no
    gradient, and gradients flow through it. Without a denoiser the noisy image itself is classified. `clamp` limits the
    denoised image to [0,1]; `resize` is the side, in pixels, that the classifier sees (bicubic), None: the image's own.
    """

    def __init__(
        self,
        denoiser: Denoiser | nn.Identity | None,
        classifier: nn.Module,
        *,
        clamp: bool = False,
        resize: int | None = None,
        learns: Literal["denoiser", "classifier", "both"] = "denoiser",
    ):
        super().__init__()
        self.denoiser: Denoiser | nn.Identity = nn.Identity() if denoiser is None else denoiser
        self.classifier = classifier
        self.clamp, self.resize, self.learns = clamp, resize, learns
        for part in self._resting():
            part.requires_grad_(False).eval()

    def _resting(self) -> list[nn.Module]:
        """The parts that do not learn."""
        parts = {"denoiser": self.denoiser, "classifier": self.classifier}
        return [part for name, part in parts.items() if self.learns not in (name, "both")]

    def train(self, mode: bool = True) -> "DenoiseThenClassify":
        super().train(mode)
        for part in self._resting():
            part.eval()
        return self

    @cached_property
    def head(self) -> "DenoiseThenClassify":
        """Everything behind the denoiser as a module of the same parameters, which the state does not list twice."""
        return DenoiseThenClassify(None, self.classifier, clamp=self.clamp, resize=self.resize, learns=self.learns)

    def classify(self, x: Images) -> Float[torch.Tensor, "rows classes"]:
        """Logits of images that are denoised already, or clean."""
        x = x.clamp(0.0, 1.0) if self.clamp else x
        if self.resize is not None:
            x = F.interpolate(x, size=(self.resize, self.resize), mode="bicubic", antialias=True, align_corners=False)
        return self.classifier(x)

    def forward(self, y: Images) -> Float[torch.Tensor, "rows classes"]:
        return self.classify(self.denoiser(y))


def denoiser_of(model: object) -> Denoiser | None:
    """The denoiser that stands before a model's classifier; None where there is none."""
    if not isinstance(model, DenoiseThenClassify) or isinstance(model.denoiser, nn.Identity):
        return None
    return model.denoiser
