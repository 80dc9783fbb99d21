"""Denoisers as fixed functions of the noisy image: what they know of the noise is settled when they are made.

A certificate that compares two laws of noise needs the same base classifier under both. A network that was given the
noise level being sampled would be another function under each, so the level it is given is a property of the denoiser, which
never follows the noise and cannot be set afterwards.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

Images = Float[torch.Tensor, "rows channels height width"]


class Denoiser(nn.Module):
    """y [rows, channels, height, width], a [0,1] image with noise that is not clipped → an image in [0,1] units.

    `condition` is the noise level that `network` is given, in [0,1]-pixel units: one number that never changes, or None where
    the network takes none or has not been given one yet (`condition_is_frozen` says which).
    """

    takes_level: bool = False
    """Whether the network takes a noise level at all."""
    predicts_noise: bool = False
    """Whether the network's own output is the noise of unit variance, not the image."""

    def __init__(self, network: nn.Module, condition: float | None = None):
        super().__init__()
        if condition is not None and not self.takes_level:
            raise ValueError(f"{type(network).__name__} takes no noise level, so none can be frozen; got {condition}")
        if condition is not None and not 0 < condition < float("inf"):
            raise ValueError(f"the noise level of a denoiser must be a number above 0, got {condition}")
        self.network = network
        self._condition = condition

    @property
    def condition(self) -> float | None:
        return self._condition

    @property
    def condition_is_frozen(self) -> bool:
        """Whether this is one fixed function. The sampler refuses it otherwise."""
        return self._condition is not None or not self.takes_level

    def forward(self, y: Images) -> Images:
        raise NotImplementedError

    def at(self, y: Images, sigma: Float[torch.Tensor, " rows"]) -> Images:
        """Denoised images where row r is given sigma[r]: for training over a range of levels, never for sampling."""
        raise NotImplementedError

    def compare(self, x: Images, noise: Images, sigma: Float[torch.Tensor, " rows"]) -> tuple[Images, Images]:
        """(what the network says, what it should say) about x + noise, given sigma: for training over a range."""
        return self.at(x + noise, sigma), x

    def _level(self) -> float:
        if self._condition is None:
            raise ValueError(
                "this denoiser does not know for which noise level it is used; make it with a condition, which stays fixed"
            )
        return self._condition


class Blind(Denoiser):
    """A network that sees the noisy image alone."""

    def forward(self, y: Images) -> Images:
        return self.network(y)

    def at(self, y: Images, sigma: Float[torch.Tensor, " rows"]) -> Images:
        return self.network(y)


class LevelPlane(Denoiser):
    """A network that takes the noise level as one more input plane, and images whose sides are multiples of `multiple`.

    shape: (channels, height, width) of an image. Sides that are not multiples are enlarged by repeating the last row and
    column, and the output is cut back.
    """

    takes_level = True

    def __init__(
        self, network: nn.Module, condition: float | None = None, *, shape: tuple[int, ...], multiple: int = 1
    ):
        super().__init__(network, condition)
        _, self.height, self.width = shape
        self.padding = (0, -self.width % multiple, 0, -self.height % multiple)

    def forward(self, y: Images) -> Images:
        plane = y.new_full((y.shape[0], 1, self.height, self.width), self._level())
        return self._padded(torch.cat([y, plane], dim=1))

    def at(self, y: Images, sigma: Float[torch.Tensor, " rows"]) -> Images:
        plane = sigma.to(y.dtype)[:, None, None, None].expand(-1, 1, self.height, self.width)
        return self._padded(torch.cat([y, plane], dim=1))

    def _padded(self, x: Images) -> Images:
        if not any(self.padding):
            return self.network(x)
        return self.network(F.pad(x, self.padding, mode="replicate"))[:, :, : self.height, : self.width]
