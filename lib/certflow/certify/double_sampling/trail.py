"""Multipliers at the last two radii of every image, to predict those at the next one."""

import numpy as np


class Trail:
    """For `values` quantities of `images` images. Each step of the tracing is a fraction of the one before, so that a straight
    line through the last two solutions starts Newton's iteration a step or two closer than the last solution."""

    def __init__(self, values: int, images: int):
        self._r = np.full((2, images), np.nan)
        self._found = np.full((2, values, images), np.nan)

    def add(self, rows: np.ndarray, r: np.ndarray, *found: np.ndarray) -> None:
        """Remember what was found for images `rows` at radii r."""
        self._r[0, rows], self._found[0][:, rows] = self._r[1, rows], self._found[1][:, rows]
        self._r[1, rows], self._found[1][:, rows] = r, np.stack(found)

    def predicted(self, rows: np.ndarray, r: np.ndarray, *otherwise: np.ndarray) -> np.ndarray:
        """[values, rows]: the straight line's values at r; `otherwise` where there is no line yet, or no finite value."""
        with np.errstate(all="ignore"):
            share = (r - self._r[1, rows]) / (self._r[1, rows] - self._r[0, rows])
            value = self._found[1][:, rows] + share * (self._found[1][:, rows] - self._found[0][:, rows])
        return np.where(np.isfinite(value) & (np.abs(share) < 2), value, np.stack(otherwise))
