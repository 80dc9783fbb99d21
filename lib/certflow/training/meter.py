"""What one epoch logs, summed with few reads from the device."""

import math
from collections.abc import Sequence

import torch

from certflow.errors import NonFiniteError


class Meter:
    """Sums over the steps of an epoch: `images`, `steps`, `seconds`, `loss` times images.

    `accuracy` and the `extras` of a method are times images, too; `<name>.images` counts those of the steps that report
    them. Steps hand in device scalars, which stay on the device until `read`: reading each step would make the host wait for
    the device and the device for the host. Sums are taken step by step in float64 and do not depend on when they were read.
    """

    def __init__(self, sums: dict[str, float] | None = None, extras: Sequence[str] = ()):
        self.reported = ("accuracy", *extras)
        zero = {"images": 0, "steps": 0, "loss": 0.0, "seconds": 0.0}
        self.sums = {**zero, **dict.fromkeys(self.reported, 0.0), **{f"{name}.images": 0 for name in self.reported}}
        self.sums |= sums or {}
        self._pending: list[tuple[int, dict[str, torch.Tensor]]] = []

    def add(self, images: int, stats: dict[str, torch.Tensor]) -> None:
        """One step on `images` images; `stats` as `MethodSpec.step` returns it. ValueError for what is not logged."""
        unknown = stats.keys() - {"objective", "loss", *self.reported}
        if unknown:
            raise ValueError(f"the method reports {', '.join(sorted(unknown))}, which is not among its extras")
        self._pending.append((images, stats))

    def __len__(self) -> int:
        """Steps that have not been read yet."""
        return len(self._pending)

    def read(self, where: str) -> None:
        """Add up the pending steps; a `NonFiniteError` names the first step whose objective or loss is not a number."""
        if not self._pending:
            return
        stats = [line for _, line in self._pending]
        absent = torch.full_like(stats[0]["objective"], math.nan)
        columns = [
            torch.stack([line["objective"] for line in stats]),
            torch.stack([line.get("loss", line["objective"]) for line in stats]),
            *(torch.stack([line.get(name, absent) for line in stats]) for name in self.reported),
        ]
        rows = torch.stack([column.double() for column in columns], dim=1).tolist()
        for (images, _), (objective, loss, *values) in zip(self._pending, rows, strict=True):
            self._require_finite(objective, loss, where)
            self._count(images, loss, values)
        self._pending.clear()

    def _require_finite(self, objective: float, loss: float, where: str) -> None:
        if not (math.isfinite(objective) and math.isfinite(loss)):
            raise NonFiniteError(
                f"{where}, step {self.sums['steps']}: the training loss is {objective}; lower the learning rate, or "
                "look for a division by zero in the method's loss"
            )

    def _count(self, images: int, loss: float, values: Sequence[float]) -> None:
        """`values` belong to `reported`, not a number where a step reports none."""
        self.sums["steps"] += 1
        self.sums["images"] += images
        self.sums["loss"] += loss * images
        for name, value in zip(self.reported, values, strict=True):
            if not math.isnan(value):
                self.sums[f"{name}.images"] += images
                self.sums[name] += value * images

    @property
    def loss(self) -> float:
        """Mean training loss of the steps read so far (0 before the first)."""
        return self.sums["loss"] / max(self.sums["images"], 1)

    @property
    def accuracy(self) -> float | None:
        """Mean training accuracy of the steps read so far; None where the method reports none."""
        return self.mean("accuracy")

    def mean(self, name: str) -> float | None:
        """Mean over images of what steps reported under a name; None where none did."""
        images = self.sums[f"{name}.images"]
        return self.sums[name] / images if images else None
