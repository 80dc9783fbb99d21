"""One mini-batch as a training method sees it: images, labels, and reproducible randomness."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from jaxtyping import Float, Int

from certflow.models import words
from certflow.noise import philox
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.streams import Stream

SLOTS = 1024
"""Draws that one image may take of each stream in one epoch."""


def forward(
    model: torch.nn.Module, x: Float[torch.Tensor, "m images channels height width"], precision: str = "float32"
) -> Float[torch.Tensor, "m images classes"]:
    """float32 logits of all copies in one pass, so that batch normalisation sees them together, as in the field's code.

    With `precision` bfloat16 the network runs under autocast; its logits are widened before any loss is taken.
    """
    rows = x.flatten(0, 1)
    if rows.dim() == 4:
        rows = rows.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(rows)
    return logits.float().unflatten(0, x.shape[:2])


@dataclass(frozen=True)
class Batch:
    """A mini-batch of B images. All randomness is a function of (seed, epoch, image, slot), not of the batch or the order.

    Two runs therefore see the same noise for an image whatever the batch size, and a resumed run the same as an
    uninterrupted one.
    """

    model: torch.nn.Module
    x: Float[torch.Tensor, "images channels height width"] | Int[torch.Tensor, "images length"]
    """Clean images in [0,1], augmented, or texts as tokens."""
    y: Int[torch.Tensor, " images"]
    index: Int[torch.Tensor, " images"]
    """Position in the full training split."""
    noise_spec: NoiseSpec
    seed: int
    epoch: int = 0
    epochs: int = 1
    number: int = 0
    """Of the loader batch, from the beginning of the training."""
    part: int = 0
    """Of the mini-batch within its loader batch."""
    recorded: bool = False
    """Whether the operations on this batch are being recorded, to be repeated on others (`certflow.training.fast.repeated`)."""
    precision: str = "float32"
    tables: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def noise(self, m: int = 1) -> Float[torch.Tensor, "m images channels height width"]:
        """`m` draws of additive noise per image, those of slots 0 to m - 1 of this epoch."""
        if not isinstance(self.noise_spec, AdditiveNoise):
            raise ValueError(f"this step {self.noise_spec.lacks({'additive'})[0]}")
        rows = self.noise_spec.sample(tuple(self.x.shape[1:]), self._noise_key(m))
        return rows.unflatten(0, (m, len(self.index)))

    def copies(self, m: int = 1) -> Float[torch.Tensor, "m images channels height width"]:
        """`m` noisy copies of every image, of the draws that `noise` gives where the law is additive."""
        rows = self.noise_spec.copies(self.x.repeat(m, *[1] * (self.x.dim() - 1)), self._noise_key(m))
        return rows.unflatten(0, (m, len(self.index)))

    def uniform(self, slot: int, count: int = 1) -> Float[torch.Tensor, "images count"]:
        """The method's own coins: `count` uniform variates in (0,1) per image. One slot serves one purpose per epoch."""
        return philox.uniforms(count, self._method_key(slot))

    def points(self, m: int = 1) -> Float[torch.Tensor, "m images channels height width"]:
        """What attacks move: `m` noisy copies of every image; the vectors of a text's words, [m, images, 1, length, width],
        through which gradients reach the network's table of words."""
        copies = self.copies(m)
        if copies.is_floating_point():
            return copies
        return words.vectors(self.model, copies.flatten(0, 1)).unflatten(0, copies.shape[:2])[:, :, None]

    @property
    def point(self) -> tuple[int, ...]:
        """(channels, height, width) of one of the `points`."""
        if self.x.is_floating_point():
            return tuple(self.x.shape[1:])
        return 1, self.x.shape[1], words.word_embedding(self.model).embedding_dim

    def normal(self, slot: int) -> Float[torch.Tensor, "images channels height width"]:
        """Standard normal tensors shaped as the `points`, from the slots that `uniform` draws from."""
        shape = self.point
        return philox.normals(math.prod(shape), self._method_key(slot)).view(-1, *shape)

    def coin(self, slot: int = 0) -> float:
        """A uniform variate in (0,1) for the whole mini-batch, for choices such as the layer that a penalty looks at.

        A function of (seed, number of the loader batch, part, slot), the same on every device and in every micro-batch. It is
        read on the host, so that a method that tosses it must not be recorded: its `repeats` is False.
        """
        if self.recorded:
            raise ValueError("a method that tosses a coin for each mini-batch sets `repeats` to False")
        _check_slots(slot, 1)
        key = Key.of(torch.tensor([self.number]), self.part * SLOTS + slot, seed=self.seed, stream=Stream.TRAIN_STEP)
        return philox.uniforms(1, key).item()

    def forward(
        self, x: Float[torch.Tensor, "m images channels height width"]
    ) -> Float[torch.Tensor, "m images classes"]:
        """float32 logits of the model in the batch's precision (see `forward`), of copies or of `points`."""
        if self.x.is_floating_point() or not x.is_floating_point():
            return forward(self.model, x, self.precision)
        with words.replaced(self.model, x.flatten(0, 1)[:, 0]):
            return forward(self.model, self.x.expand(len(x), *self.x.shape), self.precision)

    def table(self, name: str) -> torch.Tensor:
        """The rows of this batch in a per-image table of the whole training split, such as smoothed predictions."""
        return self.tables[name][self.index]

    def select(self, images: Int[torch.Tensor, " kept"]) -> Self:
        """The batch of these images alone (positions in this batch); their randomness stays what it was."""
        return replace(self, x=self.x[images], y=self.y[images], index=self.index[images])

    def cut(self, images: int | None) -> list[Self]:
        """Consecutive parts of at most `images` images (None: the batch itself); their randomness stays what it was."""
        if images is None or images >= len(self.y):
            return [self]
        starts = range(0, len(self.y), images)
        return [self.part_of(slice(first, first + images), self.part) for first in starts]

    def part_of(self, rows: slice, part: int) -> Self:
        """The mini-batch of these consecutive images, number `part` of the loader batch."""
        return replace(self, x=self.x[rows], y=self.y[rows], index=self.index[rows], part=part)

    def _noise_key(self, m: int) -> Key:
        _check_slots(0, m)
        slots = torch.arange(m, device=self.index.device)
        draw = (self.epoch * SLOTS + slots).repeat_interleave(len(self.index))
        return Key(self.index.repeat(m), draw, seed=self.seed, stream=Stream.TRAIN_NOISE)

    def _method_key(self, slot: int) -> Key:
        _check_slots(slot, 1)
        return Key.of(self.index, self.epoch * SLOTS + slot, seed=self.seed, stream=Stream.TRAIN_METHOD)


def _check_slots(first: int, count: int) -> None:
    if first < 0 or count < 1 or first + count > SLOTS:
        raise ValueError(
            f"slots {first} to {first + count - 1} asked for; an image has slots 0 to {SLOTS - 1} per epoch"
        )
