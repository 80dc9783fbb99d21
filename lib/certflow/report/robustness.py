"""How models fare on corrupted copies of the images: per-image values, means and intervals, for every corruption.

The copies of one image at several severities are one image to the bootstrap: an image is resampled with all its copies.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.report.columns import CERTIFIED, Column, Metric, Statistic, certified_at, frame, metrics
from certflow.report.compare import NAMES
from certflow.report.decided import asked, difference
from certflow.report.gather import own_lines
from certflow.report.lines import Line, stacked
from certflow.report.metrics import image_values
from certflow.report.published import published
from certflow.report.summary import RESAMPLES, metric_row

if TYPE_CHECKING:
    import pandas as pd

CLEAN, MEAN = "clean images", "mean of corruptions"
SEVERITIES = 5
"""Of the published copies that come in several."""
Lookup = Callable[[str, int, Sequence[int]], tuple[dict[Metric, float], str, float]]
"""(corruption, severity, severities) → published values by our metrics, their source, number of images."""


@dataclass(frozen=True)
class Robustness:
    """One line of an experiment's table on clean images, and on the copies of every (entry, corruption)."""

    clean: Line
    copies: Mapping[tuple[str, str], Line]


@dataclass(frozen=True)
class Measured:
    """The mean over `lines` of their values, float64 [seeds, severities, images, metrics], and which severities these are."""

    lines: tuple[Line, ...]
    values: np.ndarray
    severities: tuple[int, ...]


def read_robustness(spec: Mapping[str, Any], certificates: Sequence[str], copies: Sequence[str]) -> list[Robustness]:
    """Every line of the experiment, seeds of a line together; each table must have been made from what `spec` says."""
    clean = own_lines(spec, spec["runs"], certificates)
    corrupted = own_lines(spec, spec["copies"], copies, ("entry", "corruption"))
    return [
        Robustness(
            line, {(entry, name): copy for (*names, entry, name), copy in corrupted.items() if tuple(names) == key}
        )
        for key, line in clean.items()
    ]


def measured(line: Line, radii: Sequence[float]) -> Measured:
    """The per-image values of a line on corrupted copies, copies of one image together."""
    n = int(line.seeds[0].record.notes["images_per_severity"])
    severity, image = np.divmod(line.seeds[0].table["idx"].to_numpy(np.int64), n)
    found = np.unique(severity)
    grid = image.reshape(len(found), -1) if len(image) % len(found) == 0 else image[None, :0]
    if grid.size != len(image) or (grid != grid[0]).any() or (np.diff(severity) < 0).any():
        raise ArtefactError(
            f"{line.seeds[0].path}: does not hold the same images at every severity; delete it and run again"
        )
    values = stacked(line, lambda table: image_values(table, radii))
    values = values.reshape(len(values), len(found), grid.shape[1], -1)
    return Measured((line,), values, tuple(int(s) + 1 for s in found))


def summarise_corruptions(
    found: Sequence[Robustness], spec: Mapping[str, Any], resamples: int = RESAMPLES
) -> "pd.DataFrame":
    """A DataFrame with rows for the clean images, every corruption and the mean of several, for every line, in full precision.

    Columns: method, noise, noise_kind, sigma, certificate, entry, corruption, norm, severity (0: all together),
    severities, n_images (copies), n_seeds, alpha, n (most stage-2 draws of a copy); the metrics of
    `certflow.report.columns.metrics` with `_low`, `_high` (95 % bootstrap over images) and `_sd` (over seeds); preset_radii
    and judged (see `certflow.report.decided`), which leave some metrics unknown; `published_` and `difference_` of each,
    published_source, published_n_images; tables (paths) and digests, joined by blanks. Rows of one severity have no
    intervals. The mean is unweighted, over corruptions that corrupt (not MNIST-C's `identity`).
    """
    rows = []
    for line in found:
        rows += _line_rows(line, spec, [float(radius) for radius in spec["radii"]], resamples)
    return frame(rows)


def _line_rows(
    found: Robustness, spec: Mapping[str, Any], radii: list[float], resamples: int
) -> Iterator[dict[str, Any]]:
    clean = stacked(found.clean, lambda table: image_values(table, radii))
    yield _row(Measured((found.clean,), clean[:, None], (1,)), radii, resamples, entry="", corruption=CLEAN)
    for entry, facts in spec["entries"].items():
        values = {name: measured(line, radii) for (other, name), line in found.copies.items() if other == entry}
        corrupting = [values[name] for name in values if name not in facts["clean"]]
        lookup = _published(spec, facts["published"], found.clean)
        if len(corrupting) > 1:
            values[MEAN] = _mean(corrupting)
        for name, one in values.items():
            yield _row(one, radii, resamples, entry=entry, corruption=name, lookup=lookup)
        for name, one in values.items():
            for place, severity in enumerate(one.severities if len(one.severities) > 1 else ()):
                part = replace(one, values=one.values[:, place : place + 1], severities=(severity,))
                yield _row(part, radii, 0, entry=entry, corruption=name, severity=severity, lookup=lookup)


def _mean(found: Sequence[Measured]) -> Measured:
    """The unweighted mean of several corruptions at the same severities."""
    lines = tuple(line for one in found for line in one.lines)
    return Measured(lines, np.mean([one.values for one in found], axis=0), found[0].severities)


def _row(
    found: Measured,
    radii: list[float],
    resamples: int,
    *,
    entry: str,
    corruption: str,
    severity: int = 0,
    lookup: Lookup | None = None,
) -> dict[str, Any]:
    line, draws = found.lines[0], [one.draws or (np.nan, np.nan) for one in found.lines]
    row: dict[str, Any] = {
        **{name: getattr(line, name) for name in ("method", "noise", "noise_kind", "sigma", "certificate")},
        "entry": entry,
        "corruption": corruption,
        "norm": line.norm,
        "severity": severity,
        "severities": " ".join(map(str, found.severities)) if entry else "",
        "n_images": found.values.shape[1] * found.values.shape[2],
        "n_seeds": len(line.seeds),
        "alpha": line.alpha,
        "n": np.max([most for _, most in draws]),
        "external": False,
        "tables": " ".join(str(seed.path) for seed in line.seeds) if corruption != MEAN else "",
        "digests": " ".join(seed.record.digest for seed in line.seeds) if corruption != MEAN else "",
    }
    row |= metric_row(found.values.mean(axis=1), radii, resamples) | asked(line, radii)
    theirs, source, images = lookup(corruption, severity, found.severities) if lookup else ({}, "", np.nan)
    row |= {"published_source": source, "published_n_images": images}
    for metric in metrics(radii):
        value = theirs.get(metric, np.nan)
        row[Column(metric, Statistic.PUBLISHED)] = value
        row[Column(metric, Statistic.DIFFERENCE)] = difference(row, metric, value)
    return row


def _published(spec: Mapping[str, Any], dataset: str | None, line: Line) -> Lookup | None:
    """Where the published numbers of a line are looked up, of its kind of noise and norm; None: there is nothing to compare."""
    if spec["published"] is None or dataset is None or not line.published_as:
        return None
    arch = spec["published"]["arch"]
    rows = published(dataset, arch, line.published_as, line.noise_kind, line.norm, line.sigma)

    def lookup(corruption: str, severity: int, severities: Sequence[int]) -> tuple[dict[Metric, float], str, float]:
        graded = rows["metric"].str.contains(":severity").any()
        if graded and not severity and len(severities) < SEVERITIES:
            return {}, "", np.nan  # the published rows are over all severities
        what = "mean" if corruption == MEAN else corruption
        ending = f":{what}:severity{severity}" if severity else f":{what}"
        values, chosen = {}, rows[rows["metric"].str.endswith(ending)]
        for row in chosen.itertuples():
            name = row.metric.removesuffix(ending).removeprefix("corruption_")
            if name == CERTIFIED:
                values[certified_at(row.radius)] = float(row.value)
            elif name in NAMES:
                values[Metric(NAMES[name])] = float(row.value)
        if not values:
            return {}, "", np.nan
        return values, str(chosen["source"].iloc[0]), float(chosen["n_images"].iloc[0])

    return lookup
