"""What a report says of rows whose images were drawn only until they were decided (sampler `decide`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.kinds.registry import revive
from certflow.report.lines import Line
from certflow.report.metrics import SLACK
from certflow.stats.deconvolution import GRID, npmle, observed
from certflow.stats.limit import least_draws

if TYPE_CHECKING:
    import pandas as pd

EM_STEPS = 200


def decided(line: Line) -> dict[str, Any]:
    """Columns of a summary's row: `preset_radii`, those that the images were asked about, joined by blanks, and
    `least_samples`, the fewest mean stage-2 draws with which any test could hold as much (empty and NaN where no preset radii
    are decided); and `judged`, the class that the counts are about. Where labels are judged, nothing is predicted, so that the
    rate of abstentions is NaN; so is the clean accuracy where 0 is not among the radii."""
    sampler, radii = _sampler(line), preset_radii(line)
    if sampler is None or not sampler.sequential:
        return {"preset_radii": "", "least_samples": np.nan, "judged": ""}
    found = {
        "preset_radii": " ".join(f"{radius:g}" for radius in radii),
        "least_samples": float(np.mean([least(entry, sampler) for entry in line.seeds])) if sampler.decides else np.nan,
        "judged": "label" if sampler.judges_label else "selected",
    }
    unknown = {"abstention_rate": sampler.judges_label, "clean_accuracy": len(radii) and radii[0] > 0}
    names = [name for name, so in unknown.items() if so]
    return found | {name + end: np.nan for name in names for end in ("", "_low", "_high", "_sd")}


def preset_radii(line: Line) -> np.ndarray:
    """float64, increasing: the radii that a line's images were asked about; empty where radii are not preset."""
    sampler = _sampler(line)
    return np.array(sampler.radii if sampler is not None and sampler.decides else [], dtype=np.float64)


def rounded_down(table: "pd.DataFrame", radii: np.ndarray) -> "pd.DataFrame":
    """A table as it were had its images been asked about these radii alone: each has the largest that its own reaches, and one
    that reaches none has no answer."""
    reached = np.searchsorted(radii, table["radius"].to_numpy(np.float64) + SLACK, side="right")
    radius = np.concatenate([[0.0], radii])[reached]
    return table.assign(radius=radius, correct=table["correct"].where(reached > 0, 0))


def _sampler(line: Line) -> Any:
    record = line.seeds[0].provenance
    return None if record is None or "sampler" not in record.spec else revive("sampler", record.spec["sampler"])


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
    return least_draws(_failures(), weights, limits, held, sampler.alpha)


def _failures() -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(-GRID)


def decided_notes(summary: "pd.DataFrame", whose: Callable[["pd.DataFrame", "pd.DataFrame"], str]) -> list[str]:
    """What preset radii mean, draws against the least possible, and what it means that labels were judged."""
    lines = [
        f"Radii of {whose(part, summary) or 'all rows'} are the largest of {preset.replace(' ', ', ')} that was proved, and "
        "ACR is the mean of these: a lower bound of what radii of any size would give."
        for preset, part in summary[summary["preset_radii"] != ""].groupby("preset_radii", sort=False)
    ]
    rows = summary[summary["least_samples"].notna()]
    for row in rows.itertuples():
        name = ", ".join(part for part in (row.method, row.noise, row.certificate) if part)
        second = row.samples_per_image - row.n0
        lines.append(
            f"{name}: {second:,.0f} draws per image after the first look; no test that holds as much could do with fewer than "
            f"{row.least_samples:,.0f} (estimated), a ratio of {second / max(row.least_samples, 1.0):.1f}."
        )
    labels = summary[summary["judged"] == "label"]
    if len(labels):
        of = whose(labels, summary)
        lines.append(
            f"Labels were judged{f' of {of}' if of else ''}: whether the smoothed classifier gives the right class within each "
            "radius. Nothing is predicted, so that there are no abstentions to count."
        )
    return lines
