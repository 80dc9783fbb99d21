"""One-shot denoising by a diffusion model (Carlini et al. 2023): one call of the network, no randomness of its own."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.denoising.denoiser import Denoiser, Images
from certflow.denoising.schedule import Schedule, alpha_of

Prediction = Literal["epsilon", "sample", "v_prediction"]


class OneShot(Denoiser):
    """D(y) = clamp(x̂₀) with x̂₀ from one call of the network on √ā·(2y − 1), which is u_t if y is x with noise of the level.

    For a network that predicts the noise this is clamp(y − σ_r·ε̂(√ā·(2y − 1), t), 0, 1) with σ_r = ½√((1 − ā)/ā).

    `exact`: ā = 1/(1 + 4σ²), so that the scale fits the noise drawn, at a time between steps (`interp`) or at the next step
    (`ceil`). `paper`: step and scale of the first t with at least that much noise, as in the published code, which also draws
    that little more noise; here noise stays the certificate's own. shape: (channels, height, width) of an image; sides that
    are not multiples of `multiple` are enlarged by repeating the last row and column. The network may give twice as many
    channels (learned variances): the first half is used.
    """

    takes_level = True
    predicts_noise = True
    opaque = True

    def __init__(
        self,
        network: nn.Module,
        condition: float | None = None,
        *,
        shape: tuple[int, ...],
        schedule: Schedule,
        mode: Literal["exact", "paper"] = "exact",
        t_rule: Literal["interp", "ceil"] = "interp",
        time_scale: float = 1.0,
        prediction: Prediction = "epsilon",
        multiple: int = 1,
    ):
        super().__init__(network, condition)
        self.channels, self.height, self.width = shape
        self.schedule, self.mode, self.t_rule = schedule, mode, t_rule
        self.time_scale, self.prediction = time_scale, prediction
        self.padding = (0, -self.width % multiple, 0, -self.height % multiple)
        self.table: torch.Tensor
        self.register_buffer("table", torch.from_numpy(schedule.levels).log(), persistent=False)
        self.time, self.alpha = (0.0, 1.0) if condition is None else self._settle(condition)

    def _settle(self, sigma: float) -> tuple[float, float]:
        """(time as the network is given it, ā) for a noise level."""
        if self.mode == "paper":
            step = self.schedule.step(sigma)
            return step * self.time_scale, float(self.schedule.alphas[step])
        t = self.schedule.time(sigma) if self.t_rule == "interp" else float(self.schedule.step(sigma))
        return t * self.time_scale, alpha_of(sigma)

    def forward(self, y: Images) -> Images:
        self._level()
        # Always float32: bfloat16 would round times beyond 256, and an integer would cut fractions off.
        time = torch.full((1,), self.time, dtype=torch.float32, device=y.device)
        return self._clean(y, time, self.alpha)

    def settled(self) -> "SettledOneShot | None":
        """The same function with the time folded into the network's weights; None for networks whose build is not known."""
        from certflow.denoising.networks.settled import settle

        network = settle(self.network, self.time) if self.condition is not None and not self.training else None
        return None if network is None else SettledOneShot(self, network)

    def at(self, y: Images, sigma: Float[torch.Tensor, " rows"]) -> Images:
        alpha = 1 / (1 + 4 * sigma[:, None, None, None].square())
        return self._clean(y, self._times(sigma), alpha)

    def compare(self, x: Images, noise: Images, sigma: Float[torch.Tensor, " rows"]) -> tuple[Images, Images]:
        """(ε̂, ξ) whatever the network predicts, so that levels weigh as in training by noise prediction."""
        level = sigma[:, None, None, None]
        root = (1 + 4 * level.square()).rsqrt()
        spread = 2 * level * root
        u = root * (2 * (x + noise) - 1)
        out = self._predict(u, self._times(sigma)).float()
        if self.prediction == "sample":
            out = (u - root * out) / spread
        elif self.prediction == "v_prediction":
            out = root * out + spread * u
        return out, noise / level

    def _clean(self, y: Images, time: torch.Tensor, alpha: "float | torch.Tensor") -> Images:
        u = _scaled(y, alpha)
        return _estimate(self.prediction, y, u, self._predict(u, time), alpha)

    def _predict(self, u: Images, time: Float[torch.Tensor, " times"]) -> Images:
        """What the network says, without the channels of learned variances."""
        return _cut(self.network(_padded(u, self.padding), time), (self.channels, self.height, self.width))

    def _times(self, sigma: Float[torch.Tensor, " rows"]) -> Float[torch.Tensor, " rows"]:
        """`Schedule.time` of every row, on the device, as the network is given it."""
        wanted = sigma.to(self.table.dtype).log()
        above = torch.searchsorted(self.table, wanted).clamp(1, len(self.table) - 1)
        low, high = self.table[above - 1], self.table[above]
        share = ((wanted - low) / (high - low)).clamp(0, 1)
        return ((above - 1 + share) * self.time_scale).float()


class SettledOneShot(nn.Module):
    """A one-shot denoiser as it is sampled: `network` takes the image alone."""

    opaque = True

    def __init__(self, denoiser: OneShot, network: nn.Module):
        super().__init__()
        self.network, self.alpha, self.prediction = network, denoiser.alpha, denoiser.prediction
        self.padding, self.shape = denoiser.padding, (denoiser.channels, denoiser.height, denoiser.width)

    def forward(self, y: Images) -> Images:
        u = _scaled(y, self.alpha)
        out = _cut(self.network(_padded(u, self.padding)), self.shape)
        return _estimate(self.prediction, y, u, out, self.alpha)


def _scaled(y: Images, alpha: "float | torch.Tensor") -> Images:
    """What the network is shown of a noisy image."""
    return alpha**0.5 * (2 * y - 1)


def _estimate(prediction: Prediction, y: Images, u: Images, out: Images, alpha: "float | torch.Tensor") -> Images:
    """The clean image, from what the network says."""
    root, spread = alpha**0.5, (1 - alpha) ** 0.5
    if prediction == "epsilon":
        return (y - (0.5 * spread / root) * out).clamp(0.0, 1.0)
    x = out if prediction == "sample" else root * u - spread * out
    return ((x + 1) / 2).clamp(0.0, 1.0)


def _padded(u: Images, padding: tuple[int, int, int, int]) -> Images:
    return F.pad(u, padding, mode="replicate") if any(padding) else u


def _cut(out: Images, shape: tuple[int, ...]) -> Images:
    """Without the channels of learned variances, and without the padding."""
    channels, height, width = shape
    return out[:, :channels, :height, :width]
