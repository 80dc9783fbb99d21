"""The figures of a diagnosis."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from certflow.knowledge.settings import INPUT, LOGITS
from certflow.report.attacked import Attacked
from certflow.report.diagnosis.models import Diagnosed, common_layers
from certflow.report.diagnosis.names import CURVE_NAMES, LOSS_NAMES, correlation
from certflow.report.diagnosis.scores import SCORES, Beside
from certflow.report.metrics import Z95
from certflow.report.names import strength
from certflow.report.settings import PlotSettings
from certflow.report.style import COLOURS, DASHES, INK, TITLE_SIZE, legend, logarithmic_ticks, look, panels
from certflow.stats import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

CURVES = {"joint_bound": DASHES[0], "conditional_bound": DASHES[1], "direct_upper": DASHES[2]}
"""Column of the certificate's table → how its curve is drawn."""

Look = Mapping[str, Any]


def looks(models: Sequence[Diagnosed]) -> list[Look]:
    """A colour for each model; once these are used up, another marker too."""
    styles = ((colour, marker) for marker, colour in product(("o", "s", "^", "D", "v"), COLOURS))
    return [{"color": colour, "marker": marker} for _, (colour, marker) in zip(models, cycle(styles), strict=False)]


def draw_volatility(models: Sequence[Diagnosed], settings: PlotSettings) -> Figure:
    """Volatility of each loss by layer: as it is (above) and in units of each layer's mean distance (below)."""
    losses, layers = models[0].losses, common_layers(models)
    with look():
        size = (settings.width_inches, 2 * 0.9 * settings.height_inches)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.04))
        figure.suptitle(settings.title, fontsize=TITLE_SIZE)
        axes = figure.subplots(2, len(losses), squeeze=False, sharex=True)
        for column, loss in enumerate(losses):
            for axis, (value, error) in zip(
                axes[:, column], (("volatility", "standard_error"), ("relative", "relative_error")), strict=True
            ):
                for model, style in zip(models, looks(models), strict=True):
                    rows = model.of(loss)
                    _by_depth(axis, rows, layers, rows[value], Z95 * rows[error], style)
            axes[0, column].set_title(LOSS_NAMES[loss])
            if all((model.of(loss)["volatility"] > 0).all() for model in models):
                axes[0, column].set_yscale("log")
                logarithmic_ticks(axes[0, column].yaxis, "{:g}".format)
            axes[1, column].set_ylim(bottom=0)
            _layer_ticks(axes[1, column], layers)
        axes[0, 0].set_ylabel("volatility")
        axes[1, 0].set_ylabel("scale-free volatility")
        _legend(figure, models)
    return figure


def _by_depth(axis, rows: "pd.DataFrame", layers: Sequence[str] | None, values, errors, style: Look) -> None:
    place = rows["depth"] if layers is None else np.arange(len(layers))
    axis.errorbar(place, values, errors, markersize=3, linewidth=1, elinewidth=0.7, capsize=1.5, **style)


def _layer_ticks(axis, layers: Sequence[str] | None) -> None:
    """The layers' names where all models have the same ones, turned where they need room."""
    if layers is None:
        axis.set_xlabel("depth, from the input (0) to the logits (1)")
        return
    names = short_names(layers)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.3, len(names) - 0.7)
    if sum(map(len, names)) > 24:
        axis.tick_params(axis="x", labelrotation=45)
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def short_names(layers: Sequence[str]) -> list[str]:
    """The names without the number that all modules behind a network's normalisation begin with."""
    modules = [layer for layer in layers if layer not in (INPUT, LOGITS)]
    whole = any("." not in layer for layer in modules) or len({layer.partition(".")[0] for layer in modules}) > 1
    return [layer if whole or layer not in modules else layer.partition(".")[2] for layer in layers]


def shown_layers(model: Diagnosed) -> list[str]:
    """The first, the middle and the last hidden layer, each once."""
    hidden = model.hidden
    return [hidden[place] for place in sorted({0, (len(hidden) - 1) // 2, len(hidden) - 1})]


def draw_certificate(models: Sequence[Diagnosed], settings: PlotSettings) -> Figure:
    """1 minus the bounds of the first η over the distance, of a few layers. Models with other layers show theirs instead."""
    count = max(len(shown_layers(model)) for model in models)
    with look():
        figure, axes = panels(count, settings, "certified share of random pairs (%)")
        for number, axis in enumerate(axes):
            titles = []
            for model, style in zip(models, looks(models), strict=True):
                layers = shown_layers(model)
                layer = layers[min(number, len(layers) - 1)]
                titles.append(layer)
                rows = model.bounds(layer)
                for column, dash in CURVES.items():
                    axis.plot(
                        rows["delta_over_mean"],
                        100 * (1 - rows[column]),
                        linestyle=dash,
                        linewidth=1,
                        color=style["color"],
                    )
            axis.set(
                title=" / ".join(dict.fromkeys(short_names(titles))),
                xlabel="distance δ / mean distance",
                ylim=(-2, 102),
            )
        handles = [Line2D([], [], color=INK, linewidth=1, linestyle=dash) for dash in CURVES.values()]
        _legend(figure, models, handles, [CURVE_NAMES[column] for column in CURVES], marker="")
    return figure


def draw_attacks(
    models: Sequence[Diagnosed], attacks: Mapping[tuple, tuple[Attacked, ...]], settings: PlotSettings
) -> Figure:
    """Accuracy that each attack left over its strength, with 95 % bootstrap bands over images. attacks: of each model's key."""
    names = list(dict.fromkeys(attack.attack for found in attacks.values() for attack in found))
    with look():
        figure, axes = panels(len(names), settings, "accuracy left (%)")
        for name, axis in zip(names, axes, strict=True):
            for model, style in zip(models, looks(models), strict=True):
                attack = next(one for one in attacks[model.key] if one.attack == name)
                low, high = bootstrap_interval(attack.survived.mean(axis=0), 0.95, 1000)
                axis.fill_between(attack.eps, 100 * low, 100 * high, color=style["color"], alpha=0.13, linewidth=0)
                axis.plot(attack.eps, 100 * attack.accuracy, markersize=3, linewidth=1, **style)
            axis.set(title=name, xlabel=strength(attack.norm), ylim=(-2, 102))
        _legend(figure, models)
    return figure


def draw_scores(found: Beside, settings: PlotSettings) -> Figure:
    """Certified accuracy at the middle radius over each score, a point for each model."""
    models = [one.model for one in found.models]
    with look():
        figure, axes = panels(len(SCORES), settings, f"certified accuracy at {found.radii[found.middle]:g} (%)")
        for number, (score, axis) in enumerate(zip(SCORES, axes, strict=True)):
            for one, style in zip(found.models, looks(models), strict=True):
                axis.plot(
                    [one.scores[number]], [100 * one.certified[found.middle]], linestyle="none", markersize=5, **style
                )
            rho, p = found.correlation(number, found.middle)
            axis.set(title=f"ρ = {correlation(rho)}, p = {p:.2g}, n = {len(models)}", xlabel=f"score: {score.name}")
            axis.margins(0.12)
        _legend(figure, models, line="none")
    return figure


def _legend(
    figure: Figure,
    models: Sequence[Diagnosed],
    handles: Sequence[Line2D] = (),
    labels: Sequence[str] = (),
    *,
    marker: str | None = None,
    line: Literal["-", "none"] = "-",
) -> None:
    """The models, then what else is given. marker: "" for models that are drawn without markers."""
    own = [Line2D([], [], linestyle=line, linewidth=1, markersize=3.5, **style) for style in looks(models)]
    if marker is not None:
        for handle in own:
            handle.set_marker(marker)
    legend(figure, [*own, *handles], [*(model.label for model in models), *labels])
