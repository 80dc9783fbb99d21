"""Several processes, one training: each works on its share of every mini-batch, and all make the same step.

Noise and augmentation are keyed by image, so that a process draws for its images what one process would draw for them. The
gradients of the shares, weighted by their sizes, add up to the gradient of the whole mini-batch: same steps, same schedule, up
to the order of summation. Batch normalisation sees its process's share alone, as under `torch.nn.DataParallel` in the field's
code for ImageNet; its running averages are the weighted means over the processes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from certflow.errors import UnsuitableError

STATS = ("objective", "loss", "accuracy")
"""What every step may report, in the order in which it travels; a method's `extras` follow."""


@dataclass(frozen=True)
class Ranks:
    """This process among `world` that train together: `rank` counts from 0, and rank 0 writes the files."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that stores and reports."""
        return self.rank == 0

    def share(self, images: int) -> slice:
        """This process's rows of a mini-batch of `images`; the shares of all are consecutive and differ by one at most."""
        return slice(images * self.rank // self.world, images * (self.rank + 1) // self.world)

    def rows(self, pieces: Iterable[slice]) -> torch.Tensor:
        """Positions int64 of this process's rows in a loader batch that is stepped through in `pieces`."""
        parts = [torch.arange(piece.start, piece.stop)[self.share(piece.stop - piece.start)] for piece in pieces]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)

    def combine(
        self,
        model: torch.nn.Module,
        stats: Mapping[str, torch.Tensor],
        images: int,
        total: int,
        extras: Sequence[str] = (),
    ) -> dict[str, torch.Tensor]:
        """Replace gradients and buffers by their weighted means over all processes; also the means of `stats`.

        Buffers of modules in eval mode rest. Where all processes hold the same number it stays what it is, to the bit: products
        of float32 numbers and counts of images are exact in float64, and so is the mean.

        images: this process's images in the step, 0 allowed; total: those of all. extras: what `stats` may hold besides
        `STATS`. Two messages per step: gradients, float32; the rest, float64.
        Raises `UnsuitableError` for a parameter that got no gradient: the processes could not tell it from one of theirs.
        """
        gradients = [
            _gradient(name, parameter, images)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        buffers = [buffer for module in model.modules() if module.training for buffer in module.buffers(recurse=False)]
        device = gradients[0].device
        given = {**stats, "loss": stats.get("loss", stats.get("objective"))}
        names = (*STATS, *extras)
        values = [_scalar(given.get(name), images, device) for name in names]
        means = [
            *_means(gradients, images, total, torch.float32),
            *_means([*buffers, *values], images, total, torch.float64),
        ]
        with torch.no_grad():
            for tensor, mean in zip([*gradients, *buffers], means, strict=False):
                tensor.copy_(mean if tensor.is_floating_point() else mean.round())
        return dict(zip(names, means[-len(names) :], strict=True))

    def gather(self, numbers: Sequence[int], device: torch.device) -> list[list[int]]:
        """The whole numbers that each process states, by rank. No process goes on before all have come here."""
        stated = torch.zeros(self.world, len(numbers), dtype=torch.int64, device=device)
        stated[self.rank] = torch.tensor(numbers)
        return self.add(stated).tolist()

    def add(self, totals: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        if self.world > 1:
            torch.distributed.all_reduce(totals)
        return totals


ALONE = Ranks()
"""One process, as usual."""


def _gradient(name: str, parameter: torch.nn.Parameter, images: int) -> torch.Tensor:
    if parameter.grad is None:
        if images:
            raise UnsuitableError(f"parameter {name} got no gradient; train this method or network in one process")
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _scalar(value: torch.Tensor | None, images: int, device: torch.device) -> torch.Tensor:
    """What a process reports of one quantity: not a number where its method reports none, zero where it had no images."""
    if value is not None:
        return value.detach()
    return torch.full((), float("nan") if images else 0.0, device=device)


def _means(tensors: Sequence[torch.Tensor], images: int, total: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """The means of tensors over all processes, weighted by their images, in one message of this dtype."""
    flat = torch.cat([tensor.detach().reshape(-1).to(dtype) for tensor in tensors])
    if images:
        flat.mul_(images)
    else:
        flat.zero_()  # an infinite number times 0 images would be none
    torch.distributed.all_reduce(flat)
    parts = flat.div_(total).split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
