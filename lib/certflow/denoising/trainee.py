"""What the training loop trains: a denoiser in front of frozen classifiers."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from certflow.denoising.composed import DenoiseThenClassify


class Trainee(nn.Module):
    """The composed network, and the classifiers whose gradients the denoiser follows.

    `surrogates` stand in for the classifier itself, in rotation; none: the classifier itself. They were made for the data, and
    take images of that size, whatever side the classifier sees. Test images are always classified by the classifier itself.
    Only the denoiser's parameters take gradients.
    """

    def __init__(self, composed: DenoiseThenClassify, surrogates: Sequence[nn.Module] = ()):
        super().__init__()
        self.composed = composed
        self.surrogates = nn.ModuleList(
            DenoiseThenClassify(None, surrogate, clamp=composed.clamp) for surrogate in surrogates
        )

    def judge(self, number: int) -> DenoiseThenClassify:
        """Whose gradients batch `number`, counted from the first of the training, follows: the surrogates take turns."""
        if not self.surrogates:
            return self.composed
        return cast(DenoiseThenClassify, self.surrogates[number % len(self.surrogates)])

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.composed(y)
