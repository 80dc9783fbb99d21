"""A denoiser that is trained by itself: noisy images in, clean images wanted, a noise level of its own for every image."""

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.denoising.denoiser import Denoiser
from certflow.models.modes import in_mode
from certflow.noise import philox
from certflow.noise.base import Key
from certflow.noise.streams import Stream

if TYPE_CHECKING:
    from certflow.training.denoisers.ranges import RangeTraining
    from certflow.training.evaluation import Evaluation

Images = Float[torch.Tensor, "rows channels height width"]
Levels = Float[torch.Tensor, " rows"]


def levels(uniform: Levels, sigma_range: tuple[float, float], spacing: str) -> Levels:
    """Noise levels from uniform variates in (0,1): spread evenly over the range, or evenly in their logarithm."""
    low, high = sigma_range
    return low * (high / low) ** uniform if spacing == "log" else low + (high - low) * uniform


class Restorer(nn.Module):
    """A denoiser under training, and an exponential average of its weights.

    The average follows at the beginning of each step, so that it lies in the state that a resumed run takes up.
    """

    changes_by_hand: ClassVar[tuple[str, ...]] = ("average",)

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.live = denoiser
        self.average = copy.deepcopy(denoiser).requires_grad_(False)
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))

    def loss(self, x: Images, unit: Images, sigma: Levels, criterion: str, precision: str) -> torch.Tensor:
        """Mean over all elements; x clean, unit ~ N(0, I): the noisy image is x + sigma·unit."""
        noise = unit * sigma[:, None, None, None]
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            found, wanted = self.live.compare(x, noise, sigma)
        distance = F.mse_loss if criterion == "mse" or self.live.predicts_noise else F.l1_loss
        return distance(found.float(), wanted)

    @torch.no_grad()
    def remember(self, decay: float) -> None:
        """Move the average towards the live weights, faster in the beginning: with decay min(decay, (1+n)/(10+n)) at step n."""
        if decay == 0:
            return
        rate = ((1 + self.steps) / (10 + self.steps)).clamp(max=decay)
        for mine, theirs in zip(self.average.parameters(), self.live.parameters(), strict=True):
            mine.lerp_(theirs, (1 - rate).to(mine.dtype))
        for mine, theirs in zip(self.average.buffers(), self.live.buffers(), strict=True):
            mine.copy_(theirs)
        self.steps += 1

    def best(self, decay: float) -> Denoiser:
        """The denoiser to keep: the average if there is one, else the live one."""
        return self.average if decay else self.live


@torch.inference_mode()
def evaluate(restorer: Restorer, batches: Any, training: "RangeTraining", *, seed: int) -> "Evaluation":
    """Mean squared error per pixel on all test images, with the same noise at every epoch; accuracy has no meaning here."""
    from certflow.training.evaluation import Evaluation

    denoiser, totals, images = restorer.best(training.average), [], 0
    with in_mode(restorer, training=False):
        for index, x, _ in batches.epoch(0):
            drawn, tossed = (Key.of(index, draw, seed=seed, stream=Stream.TRAIN_EVALUATION) for draw in (0, 1))
            sigma = levels(philox.uniforms(1, tossed)[:, 0], training.sigma_range, training.spacing)
            unit = philox.normals(x[0].numel(), drawn).view(x.shape)
            restored = denoiser.at(x + unit * sigma[:, None, None, None], sigma)
            totals.append((restored - x).double().square().flatten(1).mean(1).sum())
            images += len(x)
    return Evaluation(float(torch.stack(totals).sum() / images), None, None)
