"""How models fare on corrupted copies of the images: per-image values, means and intervals, for every corruption.

The copies of one image at several severities are one image to the bootstrap: an image is resampled with all its copies.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.report.columns import CERTIFIED, Column, Metric, Statistic, certified_at, frame, metrics
from certflow.report.compare import NAMES, PublishedCells, PublishedLine, results
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


@dataclass(frozen=True)
class Theirs:
    """Published results on copies of a dataset, of a line's recipe under its kind of noise and in its norm."""

    cells: PublishedCells
    rows: "pd.DataFrame"
    same_mean: bool
    """Whether their mean is over the corruptions that ours is over."""

    @classmethod
    def beside(
        cls, line: Line, spec: Mapping[str, Any], facts: Mapping[str, Any], names: Collection[str]
    ) -> "Theirs | None":
        """Those that a line is compared with on the copies of an entry; None: there are none. names: of what corrupts."""
        if spec["published"] is None or facts["published"] is None or not line.published_as:
            return None
        cells = PublishedCells(**spec["published"])
        rows = published(facts["published"], cells.arch, line.published_as, line.noise_kind, line.norm, line.sigma)
        return cls(cells, rows, set(names) == set(facts["averaged"]))

    def of(self, corruption: str, severity: int, severities: Sequence[int]) -> PublishedLine | None:
        """The result on a corruption at a severity, or (0) at all of `severities`."""
        if corruption == MEAN and not self.same_mean:
            return None
        graded = self.rows["metric"].str.contains(":severity").any()
        if graded and not severity and len(severities) < SEVERITIES:
            return None  # theirs are over all severities
        what = "mean" if corruption == MEAN else corruption
        ending = f":{what}:severity{severity}" if severity else f":{what}"
        values, chosen = {}, self.rows[self.rows["metric"].str.endswith(ending)]
        for row in chosen.itertuples():
            name = row.metric.removesuffix(ending).removeprefix("corruption_")
            if name == CERTIFIED:
                values[certified_at(row.radius)] = float(row.value)
            elif name in NAMES:
                values[Metric(NAMES[name])] = float(row.value)
        return replace(results(chosen)[0], values=values) if values else None


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
    published_source, published_n_images, comparison (what differs besides the images); tables (paths) and digests, joined by
    blanks. Rows of one severity have no intervals. The mean is unweighted, over corruptions that corrupt (not MNIST-C's
    `identity`); a published one stands beside it only where ours is over the same corruptions.
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
        corrupting = [name for name in values if name not in facts["clean"]]
        theirs = Theirs.beside(found.clean, spec, facts, corrupting)
        if len(corrupting) > 1:
            values[MEAN] = _mean([values[name] for name in corrupting])
        for name, one in values.items():
            yield _row(one, radii, resamples, entry=entry, corruption=name, theirs=theirs)
        for name, one in values.items():
            for place, severity in enumerate(one.severities if len(one.severities) > 1 else ()):
                part = replace(one, values=one.values[:, place : place + 1], severities=(severity,))
                yield _row(part, radii, 0, entry=entry, corruption=name, severity=severity, theirs=theirs)


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
    theirs: Theirs | None = None,
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
    result = None if theirs is None else theirs.of(corruption, severity, found.severities)
    row |= {"published_source": "", "published_n_images": np.nan, "comparison": ""}
    if theirs is not None and result is not None:
        row |= {"published_source": result.source, "published_n_images": float(result.n_images)}
        row["comparison"] = "; ".join(theirs.cells.differences(result, line))
    for metric in metrics(radii):
        value = np.nan if result is None else result.values.get(metric, np.nan)
        row[Column(metric, Statistic.PUBLISHED)] = value
        row[Column(metric, Statistic.DIFFERENCE)] = difference(row, metric, value)
    return row
