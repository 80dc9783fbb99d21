"""What one epoch logs, summed with few reads from the device."""

import math

import torch

from certflow.errors import NonFiniteError


class Meter:
    """Sums over the steps of an epoch: `images`, `loss`, `accuracy` (both times images), `measured`, `steps`, `seconds`.

    Steps hand in device scalars, which stay on the device until `read`: reading each step would make the host wait for the
    device and the device for the host. Sums are taken step by step in float64 and do not depend on when they were read.
    """

    def __init__(self, sums: dict[str, float] | None = None):
        zero = {"images": 0, "measured": 0, "steps": 0, "loss": 0.0, "accuracy": 0.0, "seconds": 0.0}
        self.sums = {**zero, **(sums or {})}
        self._pending: list[tuple[int, dict[str, torch.Tensor]]] = []

    def add(self, images: int, stats: dict[str, torch.Tensor]) -> None:
        """One step on `images` images; `stats` as `MethodSpec.step` returns it."""
        self._pending.append((images, stats))

    def __len__(self) -> int:
        """Steps that have not been read yet."""
        return len(self._pending)

    def read(self, where: str) -> None:
        """Add up the pending steps; a `NonFiniteError` names the first step whose objective or loss is no number."""
        if not self._pending:
            return
        stats = [line for _, line in self._pending]
        absent = torch.full_like(stats[0]["objective"], math.nan)
        columns = [
            torch.stack([line["objective"] for line in stats]),
            torch.stack([line.get("loss", line["objective"]) for line in stats]),
            torch.stack([line.get("accuracy", absent) for line in stats]),
        ]
        rows = torch.stack([column.double() for column in columns], dim=1).tolist()
        for (images, _), values in zip(self._pending, rows, strict=True):
            self._count(images, *values, where=where)
        self._pending.clear()

    def _count(self, images: int, objective: float, loss: float, accuracy: float, where: str) -> None:
        if not (math.isfinite(objective) and math.isfinite(loss)):
            raise NonFiniteError(
                f"{where}, step {self.sums['steps']}: the training loss is {objective}; lower the learning rate, or "
                "look for a division by zero in the method's loss"
            )
        self.sums["steps"] += 1
        self.sums["images"] += images
        self.sums["loss"] += loss * images
        if not math.isnan(accuracy):
            self.sums["measured"] += images
            self.sums["accuracy"] += accuracy * images

    @property
    def loss(self) -> float:
        """Mean training loss of the steps read so far (0 before the first)."""
        return self.sums["loss"] / max(self.sums["images"], 1)

    @property
    def accuracy(self) -> float | None:
        """Mean training accuracy of the steps read so far; None where the method reports none."""
        return self.sums["accuracy"] / self.sums["measured"] if self.sums["measured"] else None
