"""What one attempt of an attack sees: a batch of images, the network, and randomness keyed by image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch.nn.functional import logsigmoid

from certflow.attacks.balls import Images, Norm, Radii, moved, random_point
from certflow.noise import philox
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.training import losses

SLOTS = 1 << 16
"""Draw numbers of the attack's own randomness that an attempt has: the start, then one for each step."""

Copies = Float[torch.Tensor, "m images channels height width"]


@dataclass(frozen=True)
class Target:
    """Images under attack. Nothing here depends on which images share a batch."""

    model: torch.nn.Module
    """In eval mode, its parameters without gradients."""
    noise: NoiseSpec
    x: Images
    """In [0,1]."""
    y: Int[torch.Tensor, " images"]
    index: Int[torch.Tensor, " images"]
    """Position in the full split."""
    eps: Radii
    """float64."""
    seed: int

    def cross_entropy(self, copies: Copies) -> Float64[torch.Tensor, " images"]:
        """A number to follow upwards: its gradient has the direction of that of the mean over an image's copies of
        -log softmax f(copy)_y. Of several copies its values at two points do not compare, since their weights differ."""
        odds = self.log_odds(copies)
        return _weighted(odds, logsigmoid(odds))

    def smoothed_cross_entropy(self, copies: Copies) -> Float64[torch.Tensor, " images"]:
        """The same of -log of the mean over an image's copies of softmax f(copy)_y."""
        odds = self.log_odds(copies)
        return _weighted(odds, logsigmoid(odds) + logsigmoid(-odds))

    def log_odds(self, copies: Copies) -> Float64[torch.Tensor, "m images"]:
        """`losses.log_odds` of every copy, from one pass over all copies."""
        rows = copies.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return losses.log_odds(self.model(rows).unflatten(0, copies.shape[:2]), self.y)

    def noisy(self, m: int, number: int) -> Callable[[Images], Copies]:
        """Images → m noisy copies of each, under the m draws that attempt `number` holds fixed.

        The only place where an attack knows how noise meets an image; the copies must be differentiable in the images.
        """
        if not isinstance(self.noise, AdditiveNoise):
            raise ValueError(f"an attack on the smoothed classifier {self.noise.lacks({'additive'})[0]}")
        draw = torch.arange(number * m, (number + 1) * m, device=self.index.device).repeat_interleave(len(self.index))
        shape, index = tuple(self.x.shape[1:]), self.index.repeat(m)
        rows = self.noise.sample(shape, Key(index, draw, seed=self.seed, stream=Stream.ATTACK_COPIES))
        noise = rows.unflatten(0, (m, len(self.index))).to(self.x.dtype)
        return lambda x: x + noise

    def start(self, norm: Norm, number: int) -> Images:
        """Where attempt `number` begins: the first at the image, the others at random points of the ball."""
        if number == 0:
            return self.x
        point = random_point(tuple(self.x.shape[1:]), self._key(number * SLOTS), norm)
        return moved(self.x, self.eps[:, None, None, None] * point, self.eps, norm)

    def normal(self, number: int, step: int) -> Images:
        """Standard normal values like the images, for one step of an attempt."""
        return philox.normals(self.x[0].numel(), self._key(number * SLOTS + 1 + step)).view(self.x.shape)

    def _key(self, draw: int) -> Key:
        return Key.of(self.index, draw, seed=self.seed, stream=Stream.ATTACK)


def _weighted(
    odds: Float64[torch.Tensor, "m images"], log_weights: Float64[torch.Tensor, "m images"]
) -> Float64[torch.Tensor, " images"]:
    """The mean of an image's copies with these weights, which take no gradient; only their ratios matter."""
    return (log_weights.detach().softmax(0) * odds).sum(0)
