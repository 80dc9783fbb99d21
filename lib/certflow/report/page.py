"""One self-contained HTML page per experiment: what was run, what came out, how sure it is, and where each number is from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.report.corruptions import corruption_blocks
from certflow.report.corruptions import notes as corruption_notes
from certflow.report.drawn import read_figure
from certflow.report.html import circumstances, html_figure, html_table, stated_settings, write_html
from certflow.report.layout import blocks
from certflow.report.lines import Line
from certflow.report.metrics import draws_of
from certflow.report.names import level
from certflow.report.notes import guarantees, published_notes, table_notes
from certflow.report.numbers import DASH, number, percent, whole
from certflow.report.own_envelope import NOTE, envelope_blocks
from certflow.report.preview_table import preview_blocks, preview_notes
from certflow.report.trace import trace
from certflow.report.training import TrainingLog, draw_training

if TYPE_CHECKING:
    import pandas as pd

CAPTIONS = {
    "certificate_curves": (
        "Certified accuracy over the radius",
        "A point (r, y) says: y percent of all images are classified right, provably against every change up to r in the "
        "norm of the axis. "
        "The value at 0 is the clean accuracy. Bands are 95 % bootstrap intervals over images; hollow circles are published "
        "numbers. A curve ends at the largest radius that the number of draws, or of counted outcomes, can prove. A thin curve "
        "with triangles, where there is one, comes from above: images for which an attack within that radius showed no wrong "
        "class.",
    ),
    "p_a": (
        "Distribution of p_A",
        "How sure the smoothed classifiers are: share of images whose lower confidence bound of p_A, the probability of the "
        "selected class under noise, is at most p. The band behind a curve is the share whose p_A itself is at most p, "
        "estimated from the same counts with its 95 % error over images: the gap is what the number of draws costs. "
        "Where the part left of 1/2 is shaded, the smoothed classifier abstains there. A curve further to the right is better. "
        "The jump at the right end is made of images on which all draws agreed: where noise was drawn, only more draws could "
        "tell these apart, and the average certified radius depends on it.",
    ),
    "denoised": (
        "What the denoisers see and make",
        "Test images, the same with one draw of noise at each level, and after each denoiser; values outside 0 to 1 are cut "
        "for the eye only. A denoiser that makes pretty images need not make the classifier right: see the table.",
    ),
    "cost": (
        "What it costs",
        "Average certified radius, and certified accuracy at the middle one of the table's radii that every line knows, over "
        "the mean number of draws per image of both stages (logarithmic). Further up and further left is better.",
    ),
}
"""Figure name → heading and how to read it."""
ESTIMATE = (
    "Estimated accuracy over the radius, not certified",
    "What the curve of certified accuracy is expected to be, from a few draws of each image. Bands are 95 % intervals for the "
    "population of images, at each radius by itself. A curve ends where so few draws cannot tell images apart.",
)

TRAINING = (
    "Loss and accuracy over epochs",
    "Base classifiers during training, under noise of their level: solid on test images (one noisy draw each), faint on "
    "training images.",
)


@dataclass(frozen=True)
class Previewed:
    """The estimate of a table: rows as `certflow.report.preview.estimated` makes them, and its figure."""

    table: "pd.DataFrame"
    figure: Path


def write_page(
    path: str | Path,
    summary: "pd.DataFrame",
    lines: Sequence[Line],
    *,
    title: str,
    remark: str = "",
    figures: Sequence[str | Path] = (),
    training: Sequence[TrainingLog] = (),
    envelopes: "pd.DataFrame | None" = None,
    corruptions: "pd.DataFrame | None" = None,
    preview: Previewed | None = None,
) -> None:
    """Write the page of an experiment to `path`: one HTML file that needs no other file and no network.

    summary: as `certflow.report.summary.summarise(lines, ...)` made it. figures: svg or png files, embedded in this
    order; a stem in `CAPTIONS` gets its explanation. training: logs of the models that were trained here. envelopes:
    the best over noise levels, as `certflow.report.own_envelope.envelopes_of` made it. corruptions: the table of
    corrupted copies, as `certflow.report.robustness.summarise_corruptions` made it. preview: the estimate of the
    table. Equal input gives equal bytes.
    """
    context = {
        "title": title,
        "remark": remark,
        "facts": _facts(summary, lines),
        "tables": [html_table(block) for block in blocks(summary)],
        "envelopes": [] if envelopes is None else [html_table(block) for block in envelope_blocks(envelopes)],
        "envelope_note": NOTE,
        "notes": table_notes(summary),
        "corruptions": [] if corruptions is None else [html_table(block) for block in corruption_blocks(corruptions)],
        "corruption_notes": [] if corruptions is None else corruption_notes(corruptions),
        "preview": [] if preview is None else [html_table(block) for block in preview_blocks(preview.table)],
        "preview_notes": [] if preview is None else preview_notes(preview.table),
        "preview_figure": None if preview is None else _figure(preview.figure, ESTIMATE),
        "guarantees": guarantees(summary),
        "published": published_notes(summary),
        "figures": [_figure(Path(figure)) for figure in figures],
        "training": _training_figure(training),
        "models": [_model_cost(log) for log in training],
        "costs": [_cost(line) for line in lines],
        "traces": [_traced(line) for line in lines],
        "circumstances": circumstances(
            (line.label, entry.provenance) for line in lines for entry in line.seeds if entry.provenance is not None
        ),
    }
    write_html(path, "report.html.j2", context)


def _facts(summary: "pd.DataFrame", lines: Sequence[Line]) -> list[tuple[str, str]]:
    """What was run, as pairs of name and value."""

    def listed(values: Any) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values if value != ""))

    alphas = summary["alpha"].dropna().unique()
    return [
        ("methods", listed(summary["method"])),
        ("noise levels", listed(f"{line.noise} ({level(line.sigma)})" for line in lines)),
        ("certificates", listed(summary["certificate"])),
        ("images", listed(summary["images"])),
        ("training seeds", listed(summary.loc[~summary["external"], "seeds"])),
        ("α", listed(f"{alpha:g}" for alpha in alphas) or "not stated"),
    ]


def _figure(path: Path, caption: tuple[str, str] | None = None) -> dict[str, str]:
    """Heading, explanation, address, and a width in proportion to that on paper."""
    heading, reading = caption or CAPTIONS.get(path.stem, (path.stem, ""))
    return html_figure(heading, reading, read_figure(path), path.suffix)


def _training_figure(logs: Sequence[TrainingLog]) -> dict[str, str] | None:
    if not logs:
        return None
    from certflow.report.style import rendered

    return html_figure(*TRAINING, rendered(draw_training(logs), "svg"), ".svg")


def _model_cost(log: TrainingLog) -> dict[str, str]:
    last = log.table.iloc[-1]
    return {
        "model": f"{log.method}, {log.noise}, {log.seed}",
        "epochs": whole(len(log.table)),
        "time": duration(log.seconds),
        "accuracy": percent(last["test_accuracy"]),
        "loss": number(last["test_loss"]),
        "path": str(log.path),
    }


def _cost(line: Line) -> dict[str, str]:
    """Draws and time of certifying a line, all seeds together."""
    seconds = [entry.table["seconds"].sum() if "seconds" in entry.table else np.nan for entry in line.seeds]
    draws = [draws_of(entry.table).sum() if line.draws is not None else np.nan for entry in line.seeds]
    images, total, time = line.n_images * len(line.seeds), float(np.sum(draws)), float(np.sum(seconds))
    return {
        "line": line.label,
        "images": whole(images),
        "draws": whole(total) if np.isfinite(total) else DASH,
        "time": duration(time) if np.isfinite(time) else DASH,
        "rate": whole(total / time) if np.isfinite(total) and time > 0 else DASH,
    }


def _traced(line: Line) -> dict[str, Any]:
    """Every seed's chain of files, and the settings that they state."""
    steps = [trace(entry) for entry in line.seeds]
    chains = [{"seed": entry.seed, "steps": own} for entry, own in zip(line.seeds, steps, strict=True)]
    return {"line": line.label, "chains": chains, "settings": stated_settings(step.spec for step in steps[0])}


def duration(seconds: float) -> str:
    """Seconds for people: `2 h 05 min`, `3 min 20 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
