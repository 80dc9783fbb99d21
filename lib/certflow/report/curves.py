"""Certified accuracy over the radius: the field's standard figure, with its sampling error and the published points."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from certflow.report.compare import PublishedCells
from certflow.report.decided import preset_radii
from certflow.report.lines import Line, stacked
from certflow.report.metrics import SLACK, average_certified_radius, certified, certified_accuracy
from certflow.report.names import NORMS
from certflow.report.numbers import at_least, number
from certflow.report.series import Panel, Series, arrange, keys
from certflow.report.settings import PlotSettings
from certflow.report.style import INK, legend, look, panels
from certflow.stats import bootstrap_interval

POINTS = 250
"""Thresholds at which a curve is drawn, evenly spaced: a hundredth of an inch apart in print."""

RESAMPLES = 1000
"""Bootstrap resamples of a band: its ends are then good to about 1 % of its width, less than a line's thickness."""


def draw_curves(lines: Sequence[Line], settings: PlotSettings, published: PublishedCells | None = None) -> Figure:
    """Certified accuracy (percent of all images) against the radius, in the norm of the lines.

    Bands are 95 % bootstrap intervals over images, of the mean over seeds. Hollow circles are published numbers of the same
    cell, where `published` knows them. Curves never lie above the exact step function: between two thresholds they show the
    value at the larger one. Where the smoothed classifier was attacked in the lines' norm, a second, thinner curve bounds it
    from above: the share of images for which no attack was found.
    """
    shown = arrange(lines)
    with look():
        figure, axes = panels(len(shown), settings, "certified accuracy (%)")
        any_published, above = False, set()
        for axis, panel in zip(axes, shown, strict=True):
            limit = settings.radius_max or _limit(panel)
            for series in panel.series:
                _draw(axis, series, limit, 0.15 if len(panel.series) <= 4 else 0.07)
                any_published |= _draw_published(axis, series.line, series.colour, limit, published)
            for series in {(s.line.method, s.line.noise): s for s in reversed(panel.series)}.values():
                above |= _draw_attacked(axis, series, limit)  # once for all certificates of a model
            axis.set(
                xlim=(0, limit), title=panel.title, xlabel=f"{NORMS[lines[0].norm]} radius (pixel units, [0,1] scale)"
            )
        top = max(axis.dataLim.y1 for axis in axes)
        for axis in axes:
            axis.set_ylim(0, min(100, 10 * np.ceil(top / 10 + 0.2)))
        _legend(figure, shown, any_published, above)
    return figure


def thresholds(line: Line, limit: float) -> np.ndarray:
    """float64 [<= POINTS + 3]: evenly spaced radii from 0 to `limit`, but not beyond the line's own largest radius.

    Many images share the largest radius that the number of draws allows; the curve must fall to 0 exactly there, and ends.
    Where images were asked about preset radii it ends at the last of these, and does not fall: nobody asked what lies beyond.
    """
    even, asked = limit * (np.arange(POINTS + 1) / POINTS), preset_radii(line)
    top = asked[-1] if len(asked) else max(float(entry.table["radius"].max()) for entry in line.seeds)
    if top >= limit:
        return even
    return np.unique([*even[even < top], top, *([] if len(asked) else [top + 2 * SLACK])])


def mean_curve(line: Line, radii: np.ndarray) -> np.ndarray:
    """float64 [radii]: certified accuracy, averaged over seeds."""
    return stacked(line, lambda table: certified_accuracy(table["correct"], table["radius"], radii)).mean(axis=0)


def band(line: Line, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two float64 [radii]: ends of the 95 % bootstrap interval over images of `mean_curve`."""
    hits = np.zeros((line.n_images, len(radii)))
    for entry in line.seeds:
        hits += certified(entry.table["correct"], entry.table["radius"], radii)
    return bootstrap_interval(hits / len(line.seeds), 0.95, RESAMPLES)


def _draw(axis, series: Series, limit: float, alpha: float) -> None:
    radii = thresholds(series.line, limit)
    curve = mean_curve(series.line, radii)
    low, high = band(series.line, radii)
    # A threshold at which nothing changes before the next one adds nothing to a step function but bytes.
    changes = (np.diff(np.stack([curve, low, high]), axis=1) != 0).any(axis=0)
    keep = np.r_[True, changes[1:], True][: len(radii)]
    radii, curve, low, high = radii[keep], 100 * curve[keep], 100 * low[keep], 100 * high[keep]
    axis.fill_between(radii, low, high, step="pre", color=series.colour, alpha=alpha, linewidth=0)
    # Where images were asked about radius 0 alone there is a point and no line.
    point = {"marker": "o", "markersize": 3} if len(radii) == 1 else {}
    axis.plot(radii, curve, drawstyle="steps-pre", color=series.colour, linestyle=series.dash, **point)


def _draw_published(axis, line: Line, colour: str, limit: float, cells: PublishedCells | None) -> bool:
    """Hollow circles at published certified accuracies; True if there are any."""
    found = None if cells is None else cells.of(line)
    if found is None:
        return False
    points = {metric.radius: value for metric, value in found.values.items() if metric.radius is not None}
    shown = sorted((r, 100 * value) for r, value in points.items() if r <= limit and value > 0)
    if not shown:
        return False
    axis.plot(*zip(*shown, strict=True), **_circles(colour), zorder=4, clip_on=False)
    return True


def _draw_attacked(axis, series: Series, limit: float) -> set[str]:
    """The ceilings of a line: at each radius the share that survived attacks within it. The names of the attacks drawn."""
    line, drawn = series.line, set()
    for attack in line.attacks:
        if not attack.smoothed or attack.norm != line.norm:
            continue
        # What was found within one radius holds for all larger ones, up to the next that was tried.
        radii, shares = [*attack.eps, max(limit, attack.eps[-1])], 100 * attack.accuracy
        axis.plot(radii, [*shares, shares[-1]], **_ceiling(series.colour), markevery=slice(1, len(shares)))
        drawn.add(attack.attack)
    return drawn


def _ceiling(colour: str) -> dict:
    return {
        "drawstyle": "steps-post",
        "linestyle": "-",
        "linewidth": 0.6,
        "marker": "v",
        "markersize": 3,
        "color": colour,
    }


def _circles(colour: str) -> dict:
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": 3.6,
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 0.9,
    }


def _limit(panel: Panel) -> float:
    top = max(float(e.table["radius"].max()) for s in panel.series for e in s.line.seeds)
    return 1.04 * top if top > 0 else 1.0


def _legend(figure: Figure, shown: Sequence[Panel], published: bool, attacks: set[str]) -> None:
    entries = keys(shown)
    labels = {label: _with_acr(series) if len(shown) == 1 else label for label, series in entries.items()}
    handles = [Line2D([], [], color=s.colour, linestyle=s.dash) for s in entries.values()]
    names = list(labels.values())
    if published:
        handles.append(Line2D([], [], **_circles(INK)))
        names.append("published")
    if attacks:
        handles.append(Line2D([], [], **_ceiling(INK)))
        names.append(f"attacked from above ({', '.join(sorted(attacks))})")
    legend(figure, handles, names)


def _with_acr(series: Series) -> str:
    values = [average_certified_radius(e.table["correct"], e.table["radius"]) for e in series.line.seeds]
    # What lies between two preset radii counts as the lower one.
    show = at_least if len(preset_radii(series.line)) else number
    return f"{series.label} (ACR {show(float(np.mean(values)))})"
