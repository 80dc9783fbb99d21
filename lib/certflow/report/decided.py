"""What a report says of rows whose images were drawn only until they were decided (sampler `decide`)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from certflow.kinds.registry import revive
from certflow.report.columns import Column, Metric, Statistic, certified_at
from certflow.report.lines import Line
from certflow.report.metrics import SLACK
from certflow.report.names import full_name
from certflow.report.whose import whose
from certflow.stats.deconvolution import GRID, npmle, observed
from certflow.stats.limit import least_draws

if TYPE_CHECKING:
    import pandas as pd

EM_STEPS = 200


def decided(line: Line, radii: Sequence[float]) -> dict[str, Any]:
    """Columns of a summary's row: those of `asked`, and `least_samples`, the fewest mean stage-2 draws with which any test
    could hold as much (NaN where no preset radii are decided)."""
    fewest = np.nan
    if len(preset_radii(line)):
        fewest = float(np.mean([least(entry, line.sampler) for entry in line.seeds]))
    return {"least_samples": fewest, **asked(line, radii)}


def asked(line: Line, radii: Sequence[float]) -> dict[str, Any]:
    """What a line's images were asked: `preset_radii`, joined by blanks (empty where radii are not preset), and `judged`:
    `label`, or `selected` where a stopping rule looked at the class that stage 1 selected, else empty.

    NaN is what of a table with `radii` was not asked: certified accuracies at radii that are not among the preset ones, clean
    accuracy where 0 is not, and the rate of abstentions where labels are judged, as nothing is predicted then.
    """
    sampler, labels = line.sampler, line.judges_label
    selected = "selected" if sampler is not None and sampler.sequential else ""
    preset = preset_radii(line)
    clean, *known = known_at(preset, [0.0, *radii])
    unknown = {Metric("abstention_rate"): labels, Metric("clean_accuracy"): not clean}
    unknown |= {certified_at(radius): not so for radius, so in zip(radii, known, strict=True)}
    names = [metric for metric, so in unknown.items() if so]
    found = {"preset_radii": " ".join(f"{radius:g}" for radius in preset), "judged": "label" if labels else selected}
    measured = (Statistic.MEAN, Statistic.LOW, Statistic.HIGH, Statistic.SD)
    return found | {Column(name, statistic): np.nan for name in names for statistic in measured}


def difference(row: Mapping[str, Any], metric: Metric, published: float) -> float:
    """A row's number minus a published one: NaN for the ACR of preset radii, as published ones are of any size."""
    alike = metric.name != "acr" or not row["preset_radii"]
    return row[Column(metric)] - published if alike else np.nan


def preset_radii(line: Line) -> np.ndarray:
    """float64, increasing: the radii that a line's images were asked about; empty where radii are not preset."""
    record = line.seeds[0].provenance
    return np.empty(0) if record is None else preset_of(record.spec)


def preset_of(spec: Mapping[str, Any]) -> np.ndarray:
    """The same, by the specification of a certificate table."""
    sampler = revive("sampler", spec["sampler"]) if "sampler" in spec else None
    preset = sampler is not None and sampler.decides and revive("certificate", spec["certificate"]).preset
    return np.array(sampler.radii if preset else [], dtype=np.float64)


def known_at(preset: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """bool [radii]: at which radii certified accuracy is known where images were asked about `preset` ones."""
    if not len(preset):
        return np.ones(len(radii), bool)
    return np.array([(np.abs(preset - radius) <= SLACK).any() for radius in radii])


def rounded_down(table: "pd.DataFrame", radii: np.ndarray) -> "pd.DataFrame":
    """A table as it were had its images been asked about these radii alone: each has the largest that its own reaches, and one
    that reaches none has no answer."""
    reached = np.searchsorted(radii, table["radius"].to_numpy(np.float64) + SLACK, side="right")
    radius = np.concatenate([[0.0], radii])[reached]
    held = reached > 0
    return table.assign(
        radius=radius, correct=table["correct"].where(held, 0), predict=table["predict"].where(held, -1)
    )


def least(entry: Any, sampler: Any) -> float:
    """Fewest mean draws of any test that holds as many images at each radius as this table does.

    The images' probabilities are estimated from their counts (`certflow.stats.deconvolution`). Images that this table holds
    although they are estimated to lie where no test could hold them are left out of what is asked for.
    """
    from certflow.noise.radii import shift_of

    spec, table = entry.provenance.spec, entry.table
    noise, dim = revive("noise", spec["noise"]), revive("dataset", spec["dataset"]).info().dim
    radii = np.array(sampler.radii)
    limits = shift_of(noise, sampler.norm).failure(radii, noise, dim)
    shows = np.where(table["predict"] >= 0, table["radius"].to_numpy(np.float64), -1.0)
    held = (shows[:, None] >= radii).mean(axis=0)
    weights = npmle(observed(table["k"], table["n"]), EM_STEPS)
    return least_draws(ndtr(-GRID), weights, limits, held, sampler.alpha)


def decided_notes(summary: "pd.DataFrame") -> list[str]:
    """Draws against the least possible, among `asked_notes`."""
    lines = []
    rows = summary[summary["least_samples"].notna()]
    for row in rows.itertuples():
        second = row.samples_per_image - row.n0
        lines.append(
            f"{full_name(row)}: {second:,.0f} draws per image in stage 2; any test that certifies as many images needs at "
            f"least {row.least_samples:,.0f} (estimated), a ratio of {second / max(row.least_samples, 1.0):.1f}."
        )
    return [*asked_notes(summary), *lines]


def asked_notes(summary: "pd.DataFrame") -> list[str]:
    """What preset radii mean, and what it means that labels were judged."""
    lines = [
        f"Radii of {whose(part, summary) or 'all rows'} are the largest of {preset.replace(' ', ', ')} that was proven, and "
        "ACR is their mean: a lower bound of the mean of radii of any size."
        for preset, part in summary[summary["preset_radii"] != ""].groupby("preset_radii", sort=False)
    ]
    labels = summary[summary["judged"] == "label"]
    if len(labels):
        of = whose(labels, summary)
        lines.append(
            f"Labels were judged{f' of {of}' if of else ''}: whether the smoothed classifier gives the right class within each "
            "radius. Nothing is predicted, so there are no abstentions to count."
        )
    return lines
