"""A step on one image, tried before the first one where some step will have no more: batch normalisation may refuse it.

Of one row at a resolution of 1×1 a channel has one value, and no spread. Such a row may be all that is left at the end of an
epoch, hours after the beginning, and again after each resumption. Whether it comes to that depends on the network and on how
many copies of an image a method passes at one time; the step itself knows.
"""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from certflow.errors import UnsuitableError
from certflow.training.base import MethodSpec
from certflow.training.batch import Batch
from certflow.training.checkpoint import changing_state

REFUSED = "Expected more than 1 value per channel"
"""How torch's error begins."""


class Rehearsal:
    """What is tried once for a run on `images` training images in `world` processes, if there is a reason to."""

    def __init__(self, method: MethodSpec, model: torch.nn.Module, images: int, world: int):
        self.method, self.model, self.images, self.world = method, model, images, world
        normalises = any(isinstance(module, _BatchNorm) for module in model.modules())
        self.due = normalises and fewest(method, method.batch, images, world) == 1

    def run(self, batch: Batch) -> None:
        """Take a step on the first image of a batch, if it has one; nothing is changed by it but gradients.

        `UnsuitableError`, with a batch size that does, where the network cannot.
        """
        if not self.due or len(batch.y) == 0:
            return
        self.due = False
        kept = {name: tensor.clone() for name, tensor in self._statistics().items()}
        try:
            self.method.step(batch.part_of(slice(0, 1), 0))
        except ValueError as error:
            if REFUSED not in str(error):
                raise
            raise UnsuitableError(self._problem()) from error
        for name, tensor in self._statistics().items():
            tensor.copy_(kept[name])

    def _statistics(self) -> dict[str, torch.Tensor]:
        """What a step changes of the network: parameters wait for the optimiser."""
        return {name: tensor for name, tensor in changing_state(self.model).items() if not tensor.requires_grad}

    def _problem(self) -> str:
        given = {
            "batch": self.method.batch,
            "noises": self.method.noises if self.method.splits else None,
            "micro_batch": self.method.micro_batch,
            "devices": self.world if self.world > 1 else None,
        }
        told = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        better = self._better()
        advice = f"set batch to {better}" if better else "choose another batch or micro_batch, or fewer devices"
        return (
            f"with {self.images} training images ({told}) some steps would have one image, of which batch normalisation in "
            f"this network sees one value per channel, and no spread to divide by; {advice}"
        )

    def _better(self) -> int | None:
        """The nearest batch size without such steps, up to twice the given one."""
        given = self.method.batch
        least = max(self.method.noises if self.method.splits else 1, self.method.micro_batch or 1)
        sizes = sorted(range(least, 2 * given + 1), key=lambda size: abs(size - given))
        return next((size for size in sizes if fewest(self.method, size, self.images, self.world) > 1), None)


def fewest(method: MethodSpec, batch: int, images: int, world: int) -> int:
    """Images of the smallest part, above 0, that a step passes at one time, in an epoch of loader batches of this size."""
    loaded = {min(batch, images), images % batch}
    pieces = {size // (method.noises if method.splits else 1) for size in loaded}
    shares = {size for piece in pieces for size in (piece // world, -(-piece // world))}
    micro = method.micro_batch or batch
    return min((share % micro or micro for share in shares if share), default=0)
