"""The estimate of an experiment's table, from a few draws of each image: never a certificate, and never called one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.certify.preview import Preview
from certflow.certify.stage import read_counts
from certflow.files.artefact import read_table, write_table
from certflow.files.provenance import Provenance
from certflow.report.columns import Column, Metric, Statistic, frame, typed
from certflow.report.drawn import FORMAT as FIGURE
from certflow.report.lines import describe_images
from certflow.report.tables import write_each
from certflow.sampling.counts import count_of
from certflow.stats.estimate import Estimate

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "estimate"
ESTIMATED = "estimated_accuracy"
ACR = Metric("estimated_acr")
KEYS = ("method", "noise")


@dataclass(frozen=True)
class Pilot:
    """The counts of one model on one set of images."""

    preview: Preview
    """The table that is estimated from them."""
    made: np.ndarray
    """int64 [images]: draws of both stages."""
    idx: np.ndarray
    """int64 [images]"""
    seconds: np.ndarray
    """float64 [images], of both stages."""
    record: Provenance
    path: Path


def read_pilots(
    spec: Mapping[str, Any], plans: Sequence[str], counts: Sequence[str]
) -> dict[tuple[str, ...], dict[int, Pilot]]:
    """Names of a row (`KEYS`) → training seed → its counts. spec: `Study.preview_spec`, whose `runs` are in the order of both
    lists."""
    found: dict[tuple[str, ...], dict[int, Pilot]] = {}
    for run, plan, path in zip(spec["runs"], plans, counts, strict=True):
        pilot = _pilot(spec, run["spec"], plan, path)
        found.setdefault(tuple(run[name] for name in KEYS), {})[run["seed"]] = pilot
    return found


def _pilot(spec: Mapping[str, Any], made_as: Mapping[str, Any], plan: str, path: str) -> Pilot:
    chosen, arrays, record = read_counts(made_as, plan=plan, counts=path)
    hits, draws = count_of(arrays["counts"], chosen.rows["label"].to_numpy()), arrays["counts"].sum(axis=1)
    wanted = {name: spec[name] for name in ("norm", "n", "alpha")}
    preview = Preview(hits, draws, chosen.noise, chosen.dim, **wanted)
    made = draws + chosen.rows["n0"].to_numpy()
    return Pilot(preview, made, arrays["idx"], arrays["seconds"], record, Path(path))


def estimated(spec: Mapping[str, Any], pilots: Mapping[tuple[str, ...], Mapping[int, Pilot]]) -> "pd.DataFrame":
    """A row for every method and noise: `estimated_accuracy@<radius>` and `estimated_acr` with `_low` and `_high`, NaN where
    nothing can be estimated, and what they were estimated from.

    Several training seeds are averaged, ends of intervals too: their images are the same, so that errors do not average out.
    """
    return frame([_row(spec, names, seeds) for names, seeds in pilots.items()])


def _row(spec: Mapping[str, Any], names: tuple[str, ...], seeds: Mapping[int, Pilot]) -> dict[str, Any]:
    pilots = list(seeds.values())
    noise, images = pilots[0].preview.noise, pilots[0].idx
    row = {
        **dict(zip(KEYS, names, strict=True)),
        "noise_kind": noise.kind,
        "sigma": float(noise.sigma),
        "norm": spec["norm"],
        "images": describe_images(images, spec["split"]),
        "n_images": len(images),
        "seeds": " ".join(map(str, seeds)),
        "n_seeds": len(seeds),
        "n": spec["n"],
        "alpha": float(spec["alpha"]),
        "draws": float(np.mean([pilot.made.mean() for pilot in pilots])),
        "seconds_per_image": float(np.mean([pilot.seconds.mean() for pilot in pilots])),
    }
    values = mean_of([_together(pilot, spec["radii"]) for pilot in pilots])
    for place, metric in enumerate(_metrics(spec)):
        row[Column(metric)] = float(values.value[place])
        row[Column(metric, Statistic.LOW)] = float(values.low[place])
        row[Column(metric, Statistic.HIGH)] = float(values.high[place])
    row["counts"] = " ".join(str(pilot.path) for pilot in pilots)
    row["digests"] = " ".join(pilot.record.digest for pilot in pilots)
    return row


def _together(pilot: Pilot, radii: Sequence[float]) -> Estimate:
    """The values of `_metrics`."""
    both = pilot.preview.radius(), pilot.preview.accuracy(np.array(radii, np.float64))
    return Estimate(*(np.hstack([getattr(one, end) for one in both]) for end in ("value", "low", "high")))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over seeds."""
    return Estimate(*(np.mean([getattr(one, end) for one in estimates], axis=0) for end in ("value", "low", "high")))


def write_preview(
    spec: Mapping[str, Any],
    plans: Sequence[str],
    counts: Sequence[str],
    tables: Sequence[str | Path],
    figures: Sequence[str | Path],
) -> None:
    """Write the estimate of an experiment's table to each of `tables` (tex, md, tsv), and its figure (pdf, png, svg).

    spec: `Study.preview_spec`, whose `runs` are in the order of `plans` and `counts`.
    """
    from certflow.report.preview_figure import draw_preview
    from certflow.report.preview_table import TITLE, preview_blocks, preview_notes
    from certflow.report.style import save

    pilots = read_pilots(spec, plans, counts)
    table = estimated(spec, pilots)
    parents = {str(one.path): one.record.digest for seeds in pilots.values() for one in seeds.values()}
    shown, footnotes, title = preview_blocks(table), preview_notes(table), f"{spec['title']} ({TITLE})"
    record = Provenance(format=FORMAT, spec=spec, parents=parents)
    write_each(tables, lambda path: write_table(path, table, record), shown, footnotes, title, "-estimated")
    save(draw_preview(spec, pilots), figures, Provenance(format=FIGURE, spec=spec, parents=parents))


def read_preview(path: str | Path, spec: Mapping[str, Any]) -> "pd.DataFrame":
    """A table that `write_preview` wrote as tsv; `ArtefactError` if it is of another `Study.preview_spec`."""
    return typed(read_table(path, format=FORMAT, spec=spec)[0], _metrics(spec))


def _metrics(spec: Mapping[str, Any]) -> list[Metric]:
    """What is estimated: the average radius, then the accuracies."""
    return [ACR, *(Metric(ESTIMATED, float(radius)) for radius in spec["radii"])]
