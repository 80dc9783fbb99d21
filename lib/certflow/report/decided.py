"""What a report says of rows whose images were drawn only until they were decided (sampler `decide`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.kinds.registry import revive
from certflow.report.lines import Line
from certflow.stats.deconvolution import GRID, npmle, observed
from certflow.stats.limit import least_draws

if TYPE_CHECKING:
    import pandas as pd

EM_STEPS = 200


def decided(line: Line) -> dict[str, Any]:
    """Columns of a summary's row: `least_samples`, the fewest mean stage-2 draws with which any test could hold as much (NaN
    where no preset radii are decided), and `judged`, the class that the counts are about. Where labels are
    judged, nothing is predicted, so that the rate of abstentions is NaN."""
    sampler = _sampler(line)
    if sampler is None or not sampler.sequential:
        return {"least_samples": np.nan, "judged": ""}
    found = {
        "least_samples": float(np.mean([least(entry, sampler) for entry in line.seeds])) if sampler.decides else np.nan,
        "judged": "label" if sampler.judges_label else "selected",
    }
    unknown = {f"abstention_rate{end}": np.nan for end in ("", "_low", "_high", "_sd")}
    return found | (unknown if sampler.judges_label else {})


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
    """Draws against the least possible, and what it means that labels were judged."""
    lines = []
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
