"""What the numbers cost: average certified radius and certified accuracy over the draws that were made for an image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from certflow.report.decided import known_at, preset_radii
from certflow.report.lines import Line
from certflow.report.metrics import average_certified_radius, certified_accuracy, draws_of
from certflow.report.names import level
from certflow.report.numbers import whole
from certflow.report.series import labels
from certflow.report.settings import PlotSettings
from certflow.report.style import COLOURS, legend, logarithmic_ticks, look, panels

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def draw_cost(lines: Sequence[Line], settings: PlotSettings, radii: Sequence[float]) -> Figure | None:
    """ACR (left) and certified accuracy at one of `radii` (right) over mean draws per image of both stages, log.

    The radius is the middle one of those that all lines know, or of all where there are none of these.
    One point per line, seeds averaged; further up and further left is better. Lines from elsewhere do not say their draws and
    are left out; None if no line says them.
    """
    known = [line for line in lines if line.draws is not None]
    if not known:
        return None
    shared = [radius for radius in radii if all(known_at(preset_radii(line), [radius])[0] for line in known)]
    radius = sorted(shared or radii)[len(shared or radii) // 2]
    looks = _looks(known)
    with look():
        figure, (left, right) = panels(2, settings, sharey=False)
        for line, (colour, marker) in zip(known, looks, strict=True):
            draws, acr, accuracy = point(line, radius)
            style = {"color": colour, "marker": marker, "markersize": 4.5, "linestyle": "none"}
            left.plot([draws], [acr], **style)
            right.plot([draws], [100 * accuracy], **style)
        bounds = any(len(preset_radii(line)) for line in known)
        average = "average certified radius" + ("\n(of preset radii: at least)" if bounds else "")
        for axis, name in ((left, average), (right, f"certified accuracy at {radius:g} (%)")):
            axis.set(xscale="log", xlabel="mean draws per image", ylabel=name)
            logarithmic_ticks(axis.xaxis, whole)
        handles = [Line2D([], [], color=c, marker=m, markersize=4.5, linestyle="none") for c, m in looks]
        legend(figure, handles, _labels(known))
    return figure


def point(line: Line, radius: float) -> tuple[float, float, float]:
    """(mean draws per image of both stages, ACR, certified accuracy at `radius` or NaN where nobody asked), averaged over
    seeds."""
    found, (known,) = [], known_at(preset_radii(line), [radius])
    for entry in line.seeds:
        table = entry.table
        correct, reached = table["correct"].to_numpy() == 1, table["radius"].to_numpy(np.float64)
        draws = float(draws_of(table).mean())
        accuracy = float(certified_accuracy(correct, reached, [radius])[0]) if known else np.nan
        found.append((draws, average_certified_radius(correct, reached), accuracy))
    return tuple(np.mean(found, axis=0).tolist())


def _labels(lines: Sequence[Line]) -> list[str]:
    """For each line the names in which it differs from others; the method where it is the only line."""
    if len({line.sigma for line in lines}) == 1:
        return labels(lines)
    if len({(line.method, line.certificate) for line in lines}) == len(set(labels(lines))) == 1:
        return [level(line.sigma) for line in lines]
    return [f"{label}, {level(line.sigma)}" for label, line in zip(labels(lines), lines, strict=True)]


def _looks(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Colour by the name that varies most, marker by the one that varies next (the same again, where none does)."""
    names = sorted(("method", "certificate", "noise"), key=lambda name: -len({getattr(line, name) for line in lines}))
    orders = [list(dict.fromkeys(getattr(line, name) for line in lines)) for name in names]
    second = 1 if len(orders[1]) > 1 else 0
    places = [[orders[way].index(getattr(line, names[way])) for way in (0, second)] for line in lines]
    # Colours come round again after eight; markers are then one further, so that no two of 64 lines look the same.
    return [
        (COLOURS[one % len(COLOURS)], MARKERS[(other + one // len(COLOURS)) % len(MARKERS)]) for one, other in places
    ]
