"""From a loader batch to optimiser steps: splitting, learning rates, the optimiser."""

from collections.abc import Iterator, Mapping

import torch

from certflow.noise.base import NoiseSpec
from certflow.training.base import MethodSpec
from certflow.training.batch import Batch
from certflow.training.fast.repeated import RepeatedStep
from certflow.training.gradients import accumulated, clip
from certflow.training.meter import Meter
from certflow.training.ranks import ALONE, Ranks
from certflow.training.rehearsal import Rehearsal
from certflow.training.seeding import seed_batch


def pieces(images: int, method: MethodSpec) -> Iterator[slice]:
    """The mini-batches of a loader batch: one, or `noises` of ⌊images/noises⌋ images each when the method splits.

    The images left over by the division are skipped, as in the field's code, and so are mini-batches of no image.
    """
    count = method.noises if method.splits else 1
    size = images // count
    for number in range(count if size else 0):
        yield slice(number * size, (number + 1) * size)


class Stepper:
    """A network, the method it is trained by, and the method's optimiser on all parameters that take gradients.

    `model` is put into the channels-last layout. `batches` is the number of loader batches per epoch, `images` that of its
    images. `ranks`: this process among those that train together; it is given its own rows of each loader batch.
    """

    def __init__(
        self,
        method: MethodSpec,
        model: torch.nn.Module,
        *,
        noise: NoiseSpec,
        seed: int,
        batches: int,
        tables: Mapping[str, torch.Tensor] | None = None,
        ranks: Ranks = ALONE,
        images: int | None = None,
    ):
        self.method, self.noise, self.seed, self.batches = method, noise, seed, batches
        self.tables, self.ranks, self.images = tables or {}, ranks, images
        self.model = model.to(memory_format=torch.channels_last)
        self.parts = method.noises if method.splits else 1
        self.trainable = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimiser = method.optimiser(self.trainable.items(), batches * self.parts)
        self.rehearsal = None if images is None else Rehearsal(method, self.model, images, ranks.world)
        self.repeated = RepeatedStep(method, self.model, self.optimiser.clear, batches * self.parts)

    def learning_rate(self, epoch: int, step: int = -1) -> float:
        """The rate of a step (mini-batch) of an epoch; negative steps count from the epoch's end."""
        steps = self.batches * self.parts
        return self.method.learning_rate(epoch, step % steps, steps)

    def law(self, epoch: int, number: int = -1) -> NoiseSpec:
        """The noise of a loader batch of an epoch; negative numbers count from the epoch's end."""
        return self.method.law(self.noise, epoch, number % self.batches, self.batches)

    def advance(
        self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], epoch: int, number: int, meter: Meter
    ) -> None:
        """One optimiser step on each mini-batch of loader batch `number`: (index [B], x [B, ...], y [B]).

        Nothing here waits for the device.
        """
        with self.repeated.recorder.streamed():
            self._advance(batch, epoch, number, meter)

    def _advance(self, batch: tuple[torch.Tensor, ...], epoch: int, number: int, meter: Meter) -> None:
        whole = self._batch(batch, epoch, number)
        if self.rehearsal is not None:
            self.rehearsal.run(whole)
        seed_batch(self.seed, epoch, number * self.ranks.world + self.ranks.rank)
        total = len(whole.y) if self.ranks.world == 1 else self.size(number)
        first = 0
        for part, piece in enumerate(pieces(total, self.method)):
            images = piece.stop - piece.start
            own = self.ranks.share(images)
            mini = whole.part_of(slice(first, first := first + own.stop - own.start), part)
            meter.add(images, self._gradient(mini, images))
            self._update(epoch, number * self.parts + part)

    def _batch(self, batch: tuple[torch.Tensor, ...], epoch: int, number: int) -> Batch:
        """This process's rows of a loader batch, with all that a method may ask for."""
        index, x, y = batch
        return Batch(
            model=self.model,
            x=x,
            y=y,
            index=index,
            noise_spec=self.law(epoch, number),
            seed=self.seed,
            epoch=epoch,
            epochs=self.method.epochs,
            number=epoch * self.batches + number,
            precision=self.method.precision,
            tables=self.tables,
        )

    def _gradient(self, mini: Batch, images: int) -> dict[str, torch.Tensor]:
        """Leave the gradient of a mini-batch of `images` images, of which `mini` is this process's share; what to log."""
        self.optimiser.clear()
        parts = mini.cut(self.method.micro_batch)
        stats = accumulated(self.repeated, parts, self.trainable) if len(mini.y) else {}
        if self.ranks.world == 1:
            return stats
        return self.ranks.combine(self.model, stats, len(mini.y), images, self.method.extras)

    def _update(self, epoch: int, step: int) -> None:
        """Change the parameters by the gradients that they hold."""
        if self.method.clip is not None:
            clip(self.trainable.values(), self.method.clip)
        steps = self.batches * self.parts
        self.optimiser.step(self.learning_rate(epoch, step), self.method.decay(epoch, step, steps))

    def size(self, number: int) -> int:
        """Images of loader batch `number`, those of all processes together."""
        if self.images is None:
            raise ValueError("images: processes that train together must know how many images there are")
        return min(self.method.batch, self.images - number * self.method.batch)
