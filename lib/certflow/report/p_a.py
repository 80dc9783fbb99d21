"""The distribution over images of how sure the smoothed classifier is: what the average certified radius hides."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import ndtr, ndtri

from certflow.report.deconvolved import estimated_share
from certflow.report.lines import Line
from certflow.report.metrics import Z95
from certflow.report.series import Panel, Series, arrange, keys
from certflow.report.settings import PlotSettings
from certflow.report.style import INK, legend, look, panels
from certflow.stats.deconvolution import GRID

TICKS = (0.5, 0.9, 0.99, 0.9999, 0.1, 0.01, 0.999, 0.99999, 0.999999)
"""Probabilities to mark, the most wanted first: those that would run into an earlier one's label are left out."""
LEFT = ndtri(0.01)
"""Left end of the axis; images below are counted, not shown one by one."""
RIGHT = ndtri(1 - 1e-7)
"""What larger probabilities are drawn at, 1 among them, which has no finite place on the scale."""
POINTS = 600


def draw_p_a(lines: Sequence[Line], settings: PlotSettings) -> Figure | None:
    """Share of images whose lower confidence bound of p_A is at most p, over p on a probit scale.

    p_A is the probability that the base classifier gives the selected class under noise, whether that class is right or not.
    On the probit scale the region near 1 is spread out; where radii are sigma times the probit, as l2 radii under Gaussian
    noise, a second scale says them. Seeds are pooled. Behind the steps, a band holds the share of images whose p_A itself is at
    most p, estimated from the same counts (`estimated_share`), 95 times of 100. Lines from elsewhere state no p_A and are left
    out; None if no line states it.
    """
    known = [line for line in lines if all("p_lower" in entry.table.columns for entry in line.seeds)]
    if not known:
        return None
    # Arranged together with the lines that are left out: a method keeps the colour it has in the other figure.
    shown = [Panel(p.title, tuple(s for s in p.series if s.line in known)) for p in arrange(lines)]
    shown = [panel for panel in shown if panel.series]
    with look():
        figure, axes = panels(len(shown), settings, "images at most p (%)")
        inches = 0.78 * settings.width_inches / max(2, min(len(axes), 3))
        for axis, panel in zip(axes, shown, strict=True):
            _draw_panel(axis, panel, inches)
        entries = keys(shown)
        handles = [Line2D([], [], color=s.colour, linestyle=s.dash) for s in entries.values()]
        legend(figure, handles, list(entries))
    return figure


def probits(line: Line) -> np.ndarray:
    """float64 [seeds * images], sorted: standard normal quantiles of `p_lower`, at most `RIGHT`; -inf where no draw hit the
    class."""
    found = ndtri(np.concatenate([entry.table["p_lower"].to_numpy(np.float64) for entry in line.seeds]))
    return np.minimum(np.sort(found), RIGHT)


def cumulative(values: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """(x, share): the empirical distribution function of sorted `values` at even steps up to limit and at its last jump."""
    even = LEFT + (limit - LEFT) * np.arange(POINTS + 1) / POINTS
    x = np.unique(np.append(even, np.clip(values[-1], LEFT, limit)))
    return x, np.searchsorted(values, x, side="right") / len(values)


def _draw_panel(axis, panel: Panel, inches: float) -> None:
    found = [(series, probits(series.line)) for series in panel.series]
    limit = max(float(values[-1]) for _, values in found)
    limit = max(limit if np.isfinite(limit) else 0.0, 1.0) + 0.25
    if not any(_certified_below_half(series.line) for series in panel.series):
        axis.axvspan(LEFT, 0, color="#F1F1F1", linewidth=0, zorder=0)
        axis.text(LEFT + 0.1, 96, "abstains", va="top", ha="left", fontsize=6.5, color="#707070")
    for series, values in found:
        x, share = cumulative(values, limit)
        axis.plot(x, 100 * share, drawstyle="steps-post", color=series.colour, linestyle=series.dash)
        law = estimated_share(series.line)
        if law is not None:
            _draw_band(axis, *law, series.colour)
    ticks = spaced_ticks(limit, inches)
    axis.set_xticks(ndtri(ticks), [f"{p:g}" for p in ticks])
    axis.set(xlim=(LEFT, limit), ylim=(0, 100))
    axis.set_xlabel("p (probit scale)\nsteps: lower bounds of $p_A$\nbands: $p_A$, estimated", parse_math=True)
    _radius_axis(axis, panel, limit)
    axis.set_title(panel.title)


def _draw_band(axis, share: np.ndarray, error: np.ndarray, colour: str) -> None:
    low, high = (np.clip(100 * (share + side * Z95 * error), 0, 100) for side in (-1, 1))
    axis.fill_between(GRID, low, high, color=colour, alpha=0.14, linewidth=0, zorder=1)


def spaced_ticks(limit: float, inches: float) -> list[float]:
    """Those of TICKS up to `limit` (a probit) whose labels have room on an axis of that width, increasing."""
    kept: list[float] = []
    per_inch = (limit - LEFT) / inches
    for p in TICKS:
        free = all(abs(ndtri(p) - ndtri(q)) > per_inch * _label_inches(p, q) for q in kept)
        if ndtri(p) <= limit and free:
            kept.append(p)
    return sorted(kept)


def _label_inches(p: float, q: float) -> float:
    """Least distance between the ticks of two labels of 7 points."""
    return 0.03 * (len(f"{p:g}") + len(f"{q:g}")) + 0.06


def _radius_axis(axis, panel: Panel, limit: float) -> None:
    """A second scale on top, in radii, where every radius of the panel is sigma times the probit of its bound."""
    if not all(_plain(series) for series in panel.series):
        return
    top = axis.secondary_xaxis("top")
    top.set_xticks(np.arange(0, int(limit) + 1))
    top.tick_params(length=2.5, color=INK, pad=1.5)
    axis.annotate("radius / σ:", (0, 1), (2, 4), xycoords="axes fraction", textcoords="offset points", fontsize=7)


def _certified_below_half(line: Line) -> bool:
    """Are there images that are certified although p is not above 1/2? With a bound on every other class there may be."""
    return any(((entry.table["p_lower"] <= 0.5) & (entry.table["predict"] != -1)).any() for entry in line.seeds)


def _plain(series: Series) -> bool:
    """Do this line's radii, of which there are some, follow R = sigma * probit(p_lower)?"""
    tables = [entry.table for entry in series.line.seeds]
    radius, p_lower = (np.concatenate([t[name].to_numpy(np.float64) for t in tables]) for name in ("radius", "p_lower"))
    some = radius > 0
    plain = np.allclose(ndtr(radius / series.line.sigma)[some], p_lower[some], rtol=0, atol=1e-6)
    return bool(some.any() and plain)
