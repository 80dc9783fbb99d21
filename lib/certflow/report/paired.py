"""Our lines image by image beside tables made elsewhere that name them: the difference, and how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from certflow.report.columns import Column, Metric, Statistic, metrics
from certflow.report.decided import preset_radii, rounded_down
from certflow.report.lines import Line, stacked
from certflow.report.metrics import image_values

COSTS = ("samples_per_image", "seconds_per_image")
"""Metrics that are not properties of the classifier."""


def paired_metrics(radii: Sequence[float]) -> list[Metric]:
    """The metrics of which differences are taken."""
    return [metric for metric in metrics(radii) if metric.name not in COSTS]


def partner(line: Line, lines: Sequence[Line]) -> Line | None:
    """The line made elsewhere that is to stand beside one of ours: of its method's name, under its noise."""
    if line.external:
        return None
    return next((other for other in lines if (other.beside, other.noise) == (line.method, line.noise)), None)


def paired(line: Line, lines: Sequence[Line], radii: Sequence[float], row: Mapping[str, Any]) -> dict[str, Any]:
    """paired_with (label, or empty) and paired_images (how many both are about); where there is such a line, for each of
    `paired_metrics` the mean over these images of ours minus theirs (means over training seeds) and its standard error.

    row: the line's own numbers; what it does not know is not compared. The standard error is that of the mean over images,
    sd / √m: another sample of images would move the difference so far. It knows nothing of other training seeds. NaN where
    there are too few images.
    """
    other = partner(line, lines)
    if other is None:
        return {"paired_with": "", "paired_images": np.nan}
    found = differences(line, other, radii)
    facts: dict[str, Any] = {"paired_with": other.method, "paired_images": len(found)}
    for metric, *moments in zip(paired_metrics(radii), *_moments(found), strict=True):
        mean, error = (np.nan, np.nan) if np.isnan(row[Column(metric)]) else moments
        facts |= {Column(metric, Statistic.PAIRED): mean, Column(metric, Statistic.PAIRED_ERROR): error}
    return facts


def differences(line: Line, other: Line, radii: Sequence[float]) -> np.ndarray:
    """float64 [images that both are about, metrics]: ours minus theirs, each a mean over training seeds.

    Where ours were asked about preset radii alone, theirs are rounded down to these.
    """
    wanted = [j for j, metric in enumerate(metrics(radii)) if metric.name not in COSTS]
    preset = preset_radii(line)

    def alike(table):
        return rounded_down(table, preset) if len(preset) else table

    ours, theirs = (
        stacked(one, lambda table: image_values(alike(table), radii)).mean(axis=0)[:, wanted] for one in (line, other)
    )
    numbers = (one.seeds[0].table["idx"].to_numpy(np.int64) for one in (line, other))
    _, at, there = np.intersect1d(*numbers, return_indices=True)
    return ours[at] - theirs[there]


def _moments(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over images and its standard error, NaN where there are too few images for them."""
    unknown = np.full(found.shape[1], np.nan)
    mean = found.mean(axis=0) if len(found) else unknown
    return mean, found.std(axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else unknown
