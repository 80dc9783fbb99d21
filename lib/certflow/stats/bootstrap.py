"""Percentile bootstrap over images: how much would a mean move if other images of the same kind had been drawn?"""

import numpy as np
from numpy.typing import ArrayLike

from certflow.stats.checks import level, whole

CHUNK = 2**22
"""Weights that are held at once: 32 MiB."""


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray | np.float64, np.ndarray | np.float64]:
    """Ends (low, high) of the percentile bootstrap interval of the mean over images.

    values: float [images] or [images, columns], finite. Each resample draws `images` images with replacement and takes the mean
    of every column over them; the ends are the (1 - level)/2 and (1 + level)/2 quantiles (linear interpolation) of the
    `resamples` means. The same resamples serve all columns, so columns of different models on the same images may be stacked,
    and differences of columns are compared image by image. Returns two scalars, or two arrays [columns].

    The interval speaks of the choice of images only: not of training seeds, nor of the certificates' own failure probability.
    level in (0, 1), resamples from 1 to 10^7; ValueError for other ones, other shapes and values that are not finite.
    Efron 1979; coverage is asymptotic. Deterministic in `seed`. Time: about 20 ns * images * resamples; memory: 32 MiB (or one
    resample, if larger) + resamples * columns * 8 bytes.
    """
    table = np.asarray(values, np.float64)
    if table.ndim not in (1, 2) or table.shape[0] == 0:
        raise ValueError(f"values: must be [images] or [images, columns] with at least one image, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("values: must be finite; leave out images without a result, or count them as 0")
    tails = _tails(level)
    resamples = int(whole("resamples", resamples, low=1, high=10**7))
    means = _resampled_means(table.reshape(len(table), -1), resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, tails, axis=0)
    return (low, high) if table.ndim == 2 else (low[0], high[0])


def _resampled_means(table: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """float64 [resamples, columns]: means of `table` [images, columns] over images drawn with replacement."""
    images = len(table)
    rows = max(1, CHUNK // images)
    # The mean is taken about the columns' own means: a constant column then gives itself back exactly.
    centre = table.mean(axis=0)
    centred = table - centre
    chunks = [
        centre + resample_counts(images, min(rows, resamples - start), generator) @ centred / images
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(chunks)


def resample_counts(images: int, rows: int, generator: np.random.Generator) -> np.ndarray:
    """float64 [rows, images]: how often each image was drawn in each resample (multinomial; rows sum to `images`)."""
    drawn = generator.integers(0, images, size=(rows, images))
    drawn += images * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _tails(share: float) -> tuple[float, float]:
    share = float(level("level", share))
    return (1 - share) / 2, (1 + share) / 2
