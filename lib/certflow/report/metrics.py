"""The numbers that the field reports about a per-image certificate table.

Each is a mean over images of a per-image value, so one bootstrap over images serves them all. Abstentions count as errors.
Radii are compared with full precision and never rounded up.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd

Z95 = 1.96
"""Standard errors to either side of a 95 % interval of what is nearly normal."""
SLACK = 1e-9
"""Radii this far below a threshold still reach it: a threshold such as 0.1 * 3 is not the nearest number to 0.3."""


def certified(correct: ArrayLike, radius: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """bool [images, radii]: is the image classified right, provably within each radius?

    correct: bool or 0/1 [images]; radius: float [images], 0 for abstentions; radii: float [radii], not negative. Memory:
    images * radii bytes.
    """
    correct, radius, radii = _checked(correct, radius, radii)
    return correct[:, None] & (radius[:, None] >= radii[None, :] - SLACK)


def certified_accuracy(correct: ArrayLike, radius: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """float64 [radii]: share of all images that are classified right, provably within each radius.

    At radius 0 this is the clean accuracy of the smoothed classifier. Cost: images * log(images) + radii * log(images).
    """
    correct, radius, radii = _checked(correct, radius, radii)
    reached = np.sort(radius[correct])
    return (len(reached) - np.searchsorted(reached, radii - SLACK, side="left")) / len(radius)


def average_certified_radius(correct: ArrayLike, radius: ArrayLike) -> float:
    """Mean over all images of the radius, wrong answers and abstentions counting as 0 (Zhai et al. 2020).

    Equals the area under the curve of certified accuracy over the radius.
    """
    correct, radius, _ = _checked(correct, radius, 0.0)
    return float(np.mean(correct * radius))


def image_values(table: "pd.DataFrame", radii: Sequence[float]) -> np.ndarray:
    """float64 [images, metrics]: values whose means over images are the metrics, in the order of
    `certflow.report.columns.metrics`.

    `samples_per_image` counts the draws of both stages. Columns that a table from elsewhere lacks are NaN.
    """
    correct = table["correct"].to_numpy() == 1
    radius = table["radius"].to_numpy(np.float64)
    unknown = np.full(len(table), np.nan)
    samples = unknown
    if {"n0", "n"} <= set(table.columns):
        samples = draws_of(table)
    seconds = table["seconds"].to_numpy(np.float64) if "seconds" in table.columns else unknown
    scalars = [correct * radius, correct, table["predict"].to_numpy() == -1, samples, seconds]
    return np.column_stack([*scalars, certified(correct, radius, radii)]).astype(np.float64)


def draws_of(table: "pd.DataFrame") -> np.ndarray:
    """int64 [images]: draws that were made of each image, those of both stages."""
    return table["n0"].to_numpy(np.int64) + stage_2_draws(table)


def stage_2_draws(table: "pd.DataFrame") -> np.ndarray:
    """int64 [images]: fresh draws of each image, n and those of a second law (`n_q`) where the certificate read such."""
    return table["n"].to_numpy(np.int64) + (table["n_q"].to_numpy(np.int64) if "n_q" in table.columns else 0)


def _checked(correct: ArrayLike, radius: ArrayLike, radii: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flags, radius, radii = np.asarray(correct), np.asarray(radius, np.float64), np.asarray(radii, np.float64)
    if flags.ndim != 1 or flags.shape != radius.shape or len(flags) == 0:
        raise ValueError(
            f"correct and radius: must be [images] with at least one image, got {flags.shape} and {radius.shape}"
        )
    if not np.isin(flags, (0, 1)).all():
        raise ValueError("correct: must be 0 or 1 for every image")
    for name, values in (("radius", radius), ("radii", radii)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name}: must be finite and not negative")
    return flags.astype(bool), radius, radii
