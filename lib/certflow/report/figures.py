"""The figures that are drawn from an experiment's certificate tables, by name."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from certflow.files.provenance import Provenance
from certflow.report.compare import PublishedCells
from certflow.report.cost import draw_cost
from certflow.report.curves import draw_curves
from certflow.report.drawn import FORMAT, drawn_from, tables_of
from certflow.report.lines import Line
from certflow.report.p_a import draw_p_a
from certflow.report.settings import PlotSettings
from certflow.report.style import look, save

FIGURES = ("certificate_curves", "p_a", "cost")
"""Names of the figures: file stems that `write_figures` understands."""


def write_figures(
    lines: Sequence[Line],
    settings: PlotSettings,
    paths: Iterable[str | Path],
    published: PublishedCells | None = None,
    radii: Sequence[float] = (0.0,),
    spec: Mapping[str, Any] | None = None,
) -> None:
    """Write each of `paths`: its stem says which of `FIGURES`, its ending the format (pdf, svg or png).

    `radii` are those of the table; the cost is drawn for the middle one. Beside them, `<name>.json` says what each was drawn
    from, `spec` (`Study.figure_spec`; without it settings and radii) and the tables of `lines`, and has its files' checksums.

    Equal input gives equal bytes. A stem or ending that is not known is a ValueError, before anything is drawn.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        if path.stem not in FIGURES:
            raise ValueError(f"{path}: no figure of that name; known: {', '.join(FIGURES)}")
        if path.suffix not in (".pdf", ".svg", ".png"):
            raise ValueError(f"{path}: figures are written as pdf, svg or png")
    spec = {"plot": settings.model_dump(mode="json"), "radii": [float(r) for r in radii]} if spec is None else spec
    for name in FIGURES:
        wanted = [path for path in paths if path.stem == name]
        if wanted:
            record = Provenance(format=FORMAT, spec=drawn_from(name, spec), parents=tables_of(lines))
            save(_draw(name, lines, settings, published, radii), wanted, record)


def _draw(
    name: str,
    lines: Sequence[Line],
    settings: PlotSettings,
    published: PublishedCells | None,
    radii: Sequence[float],
) -> Figure:
    if name == "certificate_curves":
        return draw_curves(lines, settings, published)
    if name == "cost":
        return draw_cost(lines, settings, radii) or _notice("No line of this experiment states its draws.", settings)
    return draw_p_a(lines, settings) or _notice("No line of this experiment states a bound of p_A.", settings)


def _notice(text: str, settings: PlotSettings) -> Figure:
    """A figure that says why there is nothing to show."""
    with look():
        figure = Figure(figsize=(settings.width_inches / 2, settings.height_inches))
        figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure
