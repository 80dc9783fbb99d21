"""The rows of a count in their order: all draws of the first image, then those of the next."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from certflow.sampling.rows import RowRange

NUMBERS = 2**32
"""Positions and draws are numbered by 32 bits in the noise's keys."""


@dataclass(frozen=True)
class Queue:
    """index, draws, start: int64 [images], position in the full split, number of draws, and number of the first of them."""

    index: np.ndarray
    draws: np.ndarray
    start: np.ndarray
    parameter: np.ndarray | None = None
    """float64 [images], where the law of the noise needs it."""

    @classmethod
    def checked(
        cls, index: np.ndarray, draws: np.ndarray, start: np.ndarray | None, parameter: np.ndarray | None
    ) -> "Queue":
        """From copies of the arrays (columns of tables are read-only); ValueError where two rows would share their noise."""
        index, draws = np.array(index, np.int64), np.array(draws, np.int64)
        start = np.zeros(len(index), np.int64) if start is None else np.array(start, np.int64)
        if len(index) != len(draws):
            raise ValueError(f"{len(index)} indices and {len(draws)} numbers of draws do not belong together")
        if len(index) and (index.min() < 0 or index.max() >= NUMBERS or len(np.unique(index)) < len(index)):
            raise ValueError(
                "index must hold different positions in [0, 2**32): equal positions would share their noise"
            )
        if len(draws) and (draws.min() < 0 or draws.max() >= NUMBERS):
            raise ValueError(f"draws must lie in [0, 2**32), got {draws.min()} to {draws.max()}")
        if len(start) != len(index) or (len(start) and (start.min() < 0 or (start + draws).max() > NUMBERS)):
            raise ValueError("start must hold one draw number per image, from 0 to 2**32 less its draws")
        return cls(index, draws, start, None if parameter is None else np.array(parameter, np.float64))

    @cached_property
    def ends(self) -> np.ndarray:
        """int64 [images]: the row behind each image's last one."""
        return np.cumsum(self.draws)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def touched(self, row: int, stop: int) -> slice:
        """The images of rows row..stop-1."""
        return slice(self._image(row), self._image(stop - 1) + 1)

    def range(self, row: int, stop: int, images: torch.Tensor) -> RowRange:
        """Rows row..stop-1, of these images."""
        touched = self.touched(row, stop)
        begins = (self.ends - self.draws - self.start)[touched]
        parameter = None if self.parameter is None else self.parameter[touched]
        return RowRange(row, stop, images, self.index[touched], self.ends[touched], begins, parameter)

    def share(self, row: int, stop: int) -> np.ndarray:
        """float64 [images]: which part of rows row..stop-1 belongs to each image."""
        return (np.minimum(self.ends, stop) - np.maximum(self.ends - self.draws, row)).clip(min=0) / (stop - row)

    def draw(self, row: int) -> tuple[int, int]:
        """(position of the image, number of the draw) of a row."""
        image = self._image(row)
        return int(self.index[image]), row - int((self.ends - self.draws - self.start)[image])

    def _image(self, row: int) -> int:
        return int(np.searchsorted(self.ends, row, side="right"))
