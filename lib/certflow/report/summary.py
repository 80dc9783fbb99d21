"""One row per line: every metric with its interval, what it was measured on, and the published number beside it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.report.columns import Column, Statistic, certified_at, frame, metrics
from certflow.report.compare import PublishedCells
from certflow.report.decided import decided, difference, known_at, preset_radii
from certflow.report.elsewhere import other_images, reference, require_same_labels, shared_images
from certflow.report.lines import Line, stacked
from certflow.report.metrics import image_values
from certflow.report.paired import paired
from certflow.stats import bootstrap_interval, failures_quantile, true_accuracy_lower_bound

if TYPE_CHECKING:
    import pandas as pd


LEVEL = 0.95
"""Of the intervals over images."""
RESAMPLES = 2000
RHO = 0.001
"""Probability that a bound of the true certified accuracy does not hold."""


def summarise(
    lines: Sequence[Line],
    radii: Sequence[float],
    published: PublishedCells | None = None,
    *,
    resamples: int = RESAMPLES,
) -> "pd.DataFrame":
    """A DataFrame with one row per line, in the order given, that says everything the tables print.

    radii: of the columns, in the norm of all lines, [0,1]-pixel units, increasing. For each metric m of `metrics`:

    * `m`: mean over images (and seeds); rates are shares in [0,1];
    * `m_low`, `m_high`: bootstrap interval over images at `LEVEL`, of the mean over seeds;
    * `m_sd`: standard deviation over seeds (n - 1 in the denominator), NaN with one seed;
    * `published_m` and `difference_m` (ours minus published), where `published` knows the cell;
    * `paired_m` and `paired_m_se`: ours minus the table made elsewhere that names the line's method, image by image, and the
      standard error (see `certflow.report.paired`, also for paired_with and paired_images);
    * for certified accuracies `m_bound`: with probability 1 - `RHO` at least this share of these images is truly classified
      right within that radius. Pools the seeds, each with its own noise. NaN where alpha is unknown.

    Further columns: row (`line`), method, noise, noise_kind (empty where a table does not say it), sigma, certificate,
    norm, external, images, n_images, other_images (`on 250 images` where they are not those of our lines, else empty),
    shared_images (how many are), seeds (as `0 1 2`), n_seeds, alpha, n0, n (most stage-2 draws of an image), samples_vary,
    arithmetic (`exact`, `float` or empty), noise_says (`NoiseSpec.says` of it, or empty), warnings (about imported models,
    joined by bars), level, resamples, rho, `accuracy_under@<attack>@<norm>@<eps>` (share of images for which the attack
    showed no wrong class within eps; of the network without noise `plain_accuracy_under@...`), expected_failures (at most
    alpha * n_images * n_seeds false claims in expectation), failures_quantile (more than this many with probability at most
    rho), preset_radii, least_samples and judged (see `certflow.report.decided`), published_source, published_n_images,
    published_same_images (whether that is about just our images), published_digits (that radii were rounded to before they were
    counted; NaN: they were not), comparison, tables (paths) and digests, joined by blanks. Unknown numbers are NaN. An ACR of
    preset radii has no difference to a published one. A line made elsewhere whose labels contradict ours is a `DataError`.
    """
    radii = [float(radius) for radius in radii]
    if not lines or not radii or sorted(set(radii)) != radii or radii[0] < 0:
        raise ValueError(
            f"a summary needs lines, and radii that increase and are not negative; got {len(lines)} lines, {radii}"
        )
    settings = {"level": LEVEL, "resamples": resamples, "rho": RHO}
    if len({line.norm for line in lines}) > 1:
        raise ValueError(
            f"lines state radii in different norms: {sorted({line.norm for line in lines})}; make a table of each"
        )
    require_same_labels(lines)
    ours, rows = reference(lines), []
    for line in lines:
        row = {**_identity(line), **settings}
        row |= {"other_images": other_images(line, ours), "shared_images": shared_images(line, ours)}
        row |= metric_row(stacked(line, lambda table: image_values(table, radii)), radii, resamples)
        row |= _guarantee(line, radii)
        row |= decided(line, radii)
        row |= {column: share for attack in line.attacks for column, share in attack.columns.items()}
        row |= _published(line, row, radii, published)
        row |= paired(line, lines, radii, row)
        rows.append(row)
    return frame(rows)


def _identity(line: Line) -> dict[str, Any]:
    low, high = line.draws or (np.nan, np.nan)
    n0 = np.nan if line.draws is None else max(int(entry.table["n0"].max()) for entry in line.seeds)
    return {
        "row": "line",
        "method": line.method,
        "noise": line.noise,
        "noise_kind": line.noise_kind,
        "sigma": line.sigma,
        "certificate": line.certificate,
        "norm": line.norm,
        "external": line.external,
        "images": line.images,
        "n_images": line.n_images,
        "seeds": " ".join(str(entry.seed) for entry in line.seeds),
        "n_seeds": len(line.seeds),
        "alpha": line.alpha,
        "n0": n0,
        "n": high,
        "samples_vary": line.draws is not None and low != high,
        "arithmetic": line.arithmetic,
        "noise_says": line.noise_says,
        "warnings": " | ".join(line.warnings),
        "tables": " ".join(str(entry.path) for entry in line.seeds),
        "digests": " ".join("-" if e.provenance is None else e.provenance.digest for e in line.seeds),
    }


def metric_row(values: np.ndarray, radii: Sequence[float], resamples: int) -> dict[str, float]:
    """Means, intervals over images and spreads over seeds of values [seeds, images, metrics]; no intervals of 0 resamples."""
    by_seed = values.mean(axis=1)
    by_image = values.mean(axis=0)
    known = np.isfinite(by_image).all(axis=0) & (resamples > 0)
    low, high = np.full((2, by_image.shape[1]), np.nan)
    # No metric is negative; rounding can put an end that is 0 a little below.
    if known.any():
        low[known], high[known] = np.maximum(bootstrap_interval(by_image[:, known], LEVEL, resamples), 0.0)
    sd = by_seed.std(axis=0, ddof=1) if len(by_seed) > 1 else np.full(by_image.shape[1], np.nan)
    found = {
        Statistic.MEAN: by_image.mean(axis=0), Statistic.LOW: low, Statistic.HIGH: high, Statistic.SD: sd,
    }  # fmt: skip
    return {
        Column(metric, statistic): float(numbers[j])
        for j, metric in enumerate(metrics(radii))
        for statistic, numbers in found.items()
    }


def _guarantee(line: Line, radii: list[float]) -> dict[str, float]:
    trials = line.n_images * len(line.seeds)
    row = {"expected_failures": line.alpha * trials, "failures_quantile": np.nan}
    bounds = np.full(len(radii), np.nan)
    if np.isfinite(line.alpha):
        hits = stacked(line, lambda table: image_values(table, radii)[:, -len(radii) :]).sum(axis=(0, 1))
        hits = hits.astype(np.int64)
        if line.alpha == 0:  # what every outcome was counted for cannot fail
            row["failures_quantile"], bounds = 0, hits / trials
        else:
            row["failures_quantile"] = failures_quantile(trials, line.alpha, RHO)
            bounds = true_accuracy_lower_bound(hits, trials, line.alpha, RHO)
    at = [Column(certified_at(radius), Statistic.BOUND) for radius in radii]
    return row | dict(zip(at, np.where(known_at(preset_radii(line), radii), bounds, np.nan), strict=True))


def _published(line: Line, row: dict[str, Any], radii: list[float], cells: PublishedCells | None) -> dict[str, Any]:
    compared = [metric for metric in metrics(radii) if metric.name != "samples_per_image"]
    found = None if cells is None else cells.of(line)
    if cells is None or found is None:
        unknown = dict.fromkeys(("published_n_images", "published_digits"), np.nan)
        nothing = {"published_source": "", "published_same_images": False, "comparison": ""} | unknown
        theirs = (Statistic.PUBLISHED, Statistic.DIFFERENCE)
        return nothing | {Column(metric, statistic): np.nan for metric in compared for statistic in theirs}
    facts = {
        "published_source": found.source,
        "published_n_images": found.n_images,
        "published_same_images": cells.same_images(found, line),
        "published_digits": np.nan if found.digits is None else found.digits,
        "comparison": cells.comparison(found, line),
    }
    for metric in compared:
        value = found.values.get(metric, np.nan)
        facts[Column(metric, Statistic.PUBLISHED)] = value
        facts[Column(metric, Statistic.DIFFERENCE)] = difference(row, metric, value)
    return facts
