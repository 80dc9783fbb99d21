"""The estimate of a table as curves: dashed, with their bands, and named within each panel for what they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from certflow.noise.base import NoiseSpec
from certflow.report.names import NORMS, level, noise_names
from certflow.report.preview import Pilot, mean_of
from certflow.report.settings import PlotSettings
from certflow.report.style import coloured, legend, look, panels

DASH = (0, (4, 1.5))
WORDS = {"ha": "right", "va": "top", "fontsize": 7, "color": "#707070"}
CURVE = 101
"""Radii at which a curve is estimated."""
Pilots = Mapping[tuple[str, ...], Mapping[int, Pilot]]


def draw_preview(spec: Mapping[str, Any], pilots: Pilots) -> Figure:
    """Estimated accuracies (percent) over the radius, with 95 % bands, up to the radius that few draws can tell.

    A panel for each noise level where there are several rows of one, else one panel with all.
    """
    settings, labels = PlotSettings.model_validate(spec["plot"]), _labels(pilots)
    sigmas = {key: float(_noise(seeds).sigma) for key, seeds in pilots.items()}
    alone = len(set(sigmas.values())) == len(pilots)
    shown = (
        [list(pilots)]
        if alone
        else [[key for key in pilots if sigmas[key] == s] for s in dict.fromkeys(sigmas.values())]
    )
    names = {key: level(sigmas[key]) if alone and len(pilots) > 1 else labels[key] for key in pilots}
    colours = coloured(names.values())
    with look():
        figure, axes = panels(len(shown), settings, "estimated accuracy (%)")
        for axis, keys in zip(axes, shown, strict=True):
            limit = settings.radius_max or max(p.preview.farthest for key in keys for p in pilots[key].values())
            for key in keys:
                _draw(axis, list(pilots[key].values()), limit, colours[names[key]])
            title = level(sigmas[keys[0]]) if len({sigmas[key] for key in keys}) == 1 else ""
            axis.set(xlim=(0, limit), ylim=(0, 100), title=title, xlabel=f"{NORMS[spec['norm']]} radius (pixel units)")
            axis.text(0.97, 0.95, "estimated,\nnot certified", transform=axis.transAxes, **WORDS)
        handles = [Line2D([], [], color=colour, linestyle=DASH) for colour in colours.values()]
        legend(figure, handles, list(colours))
    return figure


def _labels(pilots: Pilots) -> dict[tuple[str, ...], str]:
    """Method of each row, with its law where another of the same level stands beside it."""
    noises = {key: _noise(seeds) for key, seeds in pilots.items()}
    laws = noise_names((key[1], float(noise.sigma), noise.kind) for key, noise in noises.items())
    return {key: ", ".join(part for part in (key[0], laws[key[1]]) if part) for key in pilots}


def _noise(seeds: Mapping[int, Pilot]) -> NoiseSpec:
    return next(iter(seeds.values())).preview.noise


def _draw(axis, seeds: Sequence[Pilot], limit: float, colour: str) -> None:
    radii = np.linspace(0, limit, CURVE)
    found = mean_of([pilot.preview.accuracy(radii) for pilot in seeds])
    known = np.isfinite(found.value)
    axis.fill_between(
        radii[known], 100 * found.low[known], 100 * found.high[known], color=colour, alpha=0.12, linewidth=0
    )
    axis.plot(radii[known], 100 * found.value[known], color=colour, linestyle=DASH)
