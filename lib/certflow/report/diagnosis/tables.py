"""The tables of a diagnosis as blocks: models, layers, accuracy under attack, correlations."""

from collections.abc import Mapping, Sequence

import numpy as np

from certflow.report.attacked import Attacked
from certflow.report.diagnosis.models import Diagnosed
from certflow.report.diagnosis.names import LOSS_NAMES, correlation
from certflow.report.diagnosis.scores import SCORES, Beside
from certflow.report.layout import Block, Cell, Group, Row
from certflow.report.names import NORMS, strength
from certflow.report.numbers import down, percent, significant, whole

Table = Sequence[Sequence[str | Cell]]


def block(title: str, columns: Sequence[str], groups: Mapping[str, Table], *, over: str = "", plain: int = 0) -> Block:
    """Groups of rows of text, the first column names. title: the heading of the groups' own column. over: a heading above all
    but that one and the `plain` columns behind it."""
    made = [
        Group(name, float(number), tuple(Row("ours", tuple(map(_cell, row))) for row in rows))
        for number, (name, rows) in enumerate(groups.items())
    ]
    return Block(tuple(columns), 1, tuple(made), over, 1 + plain, grouped_by=title)


def _cell(content: str | Cell) -> Cell:
    return content if isinstance(content, Cell) else Cell(content)


def measured(value: float, error: float) -> Cell:
    """A number with its standard error."""
    return Cell(significant(value), f"± {significant(error, 2)}" if np.isfinite(error) and error > 0 else "")


def layer_blocks(models: Sequence[Diagnosed]) -> list[Block]:
    """Volatility and scale-free volatility of each loss, grouped by layer."""
    losses, blocks = models[0].losses, []
    columns = [LOSS_NAMES[loss] for loss in losses]
    for value, error, over in (
        ("relative", "relative_error", "scale-free volatility (± standard error)"),
        ("volatility", "standard_error", "volatility (± standard error)"),
    ):
        groups: dict[str, list] = {}
        for layer in dict.fromkeys(layer for model in models for layer in model.layers):
            for model in models:
                rows = model.volatility[model.volatility["layer"] == layer]
                if len(rows):
                    cells = [measured(row[value], row[error]) for _, row in rows.iterrows()]
                    groups.setdefault(layer, []).append([model.label, *cells])
        blocks.append(block("layer", ("model", *columns), groups, over=over))
    return blocks


def facts_block(models: Sequence[Diagnosed]) -> Block:
    """Accuracy, points and scores of each model."""
    rows = [
        [
            model.label,
            percent(model.accuracy),
            whole(float(model.volatility["points"].iloc[0])),
            *(significant(score.of(model)) for score in SCORES),
        ]
        for model in models
    ]
    noises = dict.fromkeys(model.noise for model in models)
    groups = {noise: [row for row, model in zip(rows, models, strict=True) if model.noise == noise] for noise in noises}
    columns = ("model", "accuracy (%)", "points", *(score.name for score in SCORES))
    return block("trained under", columns, groups, over="score of the model (smaller: more stable)", plain=2)


def certificate_block(models: Sequence[Diagnosed]) -> Block:
    """The bounds at the grid's middle distance, of the first η, grouped by layer.

    Shares are rounded down, and so is the distance: the joint event at a smaller one is part of that at the exact one.
    """
    groups: dict[str, list] = {}
    for layer in dict.fromkeys(layer for model in models for layer in model.layers):
        for model in models:
            rows = model.bounds(layer)
            if len(rows):
                row = rows.iloc[len(rows) // 2]
                bounds = [row[name] for name in ("joint_bound", "conditional_bound", "direct_upper")]
                shares = [down(100 * (1 - bound), 1) for bound in bounds]
                groups.setdefault(layer, []).append([model.label, down(row["delta_over_mean"], 2), *shares])
    columns = ("model", "δ / mean distance", "joint", "given close", "counted")
    return block("layer", columns, groups, over="certified share of random pairs (%), distributional", plain=1)


def attack_blocks(models: Sequence[Diagnosed], attacks: Mapping[tuple, tuple[Attacked, ...]]) -> list[Block]:
    """Accuracy and macro-F1 left by each attack: a block for each."""
    names = list(dict.fromkeys(attack.attack for found in attacks.values() for attack in found))
    blocks = []
    for name in names:
        each = {model.label: next(one for one in attacks[model.key] if one.attack == name) for model in models}
        first = each[models[0].label]
        columns = ("model", *(f"{eps:g}" for eps in first.eps))
        for what in ("accuracy", "macro_f1"):
            rows = [[label, *(percent(share) for share in getattr(one, what))] for label, one in each.items()]
            over = f"{what.replace('_f1', '-F1')} left (%) at {strength(first.norm)}"
            blocks.append(block("attack", columns, {name: rows}, over=over))
    return blocks


def beside_blocks(found: Beside) -> list[Block]:
    """Scores and certified accuracy of each model, then the correlations."""
    rows = [
        [one.model.label, *(significant(score) for score in one.scores), *(percent(share) for share in one.certified)]
        for one in found.models
    ]
    radii = [f"{radius:g}" for radius in found.radii]
    over = f"certified accuracy (%) at {NORMS[found.norm]} radius"
    columns = ("model", *(score.name for score in SCORES), *radii)
    models = block("experiment", columns, {found.experiment: rows}, over=over, plain=len(SCORES))
    correlations = []
    for place, score in enumerate(SCORES):
        pairs = [found.correlation(place, radius) for radius in range(len(radii))]
        correlations.append([score.name, *(Cell(correlation(rho), f"p = {p:.2g}") for rho, p in pairs)])
    title = f"Spearman's ρ with certified accuracy at {NORMS[found.norm]} radius, n = {len(found.models)} models"
    return [models, block("experiment", ("score", *radii), {found.experiment: correlations}, over=title)]
