"""One number for the stability of a whole model, and whether it goes with what smoothing certifies of the same model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from certflow.errors import ArtefactError
from certflow.report.decided import known_at, preset_radii
from certflow.report.diagnosis.models import Diagnosed
from certflow.report.lines import Line, SeedTable
from certflow.report.metrics import certified_accuracy
from certflow.stats import spearman


@dataclass(frozen=True)
class Score:
    """`of`: model → its score; the smaller, the more stable. `name`: its heading; `says`: how it is made."""

    of: Callable[[Diagnosed], float]
    name: str
    says: str


def _relative(model: Diagnosed) -> np.ndarray:
    """Scale-free volatility of the first loss at each hidden layer."""
    rows = model.of(model.losses[0])
    return rows.loc[rows["layer"].isin(model.hidden), "relative"].to_numpy(np.float64)


def _ball(model: Diagnosed) -> float:
    rows = model.of(model.losses[0])
    return float(rows.loc[rows["layer"] == model.hidden[-1], "ball_score"].iloc[0])


SCORES = (
    Score(lambda model: float(_relative(model)[-1]), "last layer", "scale-free volatility of the last hidden layer"),
    Score(
        lambda model: float(_relative(model).mean()),
        "mean of layers",
        "mean over hidden layers of the scale-free volatility",
    ),
    Score(_ball, "ball score", "ball score of the last hidden layer, the published one"),
)


@dataclass(frozen=True)
class Compared:
    """A model with its scores, and its certified accuracy at each radius."""

    model: Diagnosed
    scores: tuple[float, ...]
    certified: np.ndarray
    """float64 [radii]"""
    certificate: str


@dataclass(frozen=True)
class Beside:
    """All models of an experiment: scores beside certified accuracy."""

    experiment: str
    radii: tuple[float, ...]
    norm: str
    models: tuple[Compared, ...]

    @property
    def middle(self) -> int:
        """Which of the radii is drawn."""
        return len(self.radii) // 2

    def correlation(self, score: int, radius: int) -> tuple[float, float]:
        """Spearman's correlation of a score and certified accuracy over the models, and its p-value by permutation."""
        return spearman([one.scores[score] for one in self.models], [one.certified[radius] for one in self.models])


def beside(
    experiment: str, models: Sequence[Diagnosed], lines: Mapping[tuple[str, ...], Line], radii: Sequence[float]
) -> Beside:
    """lines: of the experiment, by method, noise and certificate. A model is compared under the first certificate that the
    experiment lists for it, at those of the radii about which all of these know something. `ArtefactError` where there are
    none, or where scores and certificate are of different weights."""
    found, firsts = [], [_first(model, lines) for model in models]
    known = np.all([known_at(preset_radii(line), radii) for line, _ in firsts], axis=0)
    radii = [float(radius) for radius, so in zip(radii, known, strict=True) if so]
    if not radii:
        raise ArtefactError(
            f"{experiment}: at none of its radii all models have a certified accuracy; change its `radii`"
        )
    for model, (line, entry) in zip(models, firsts, strict=True):
        certified = entry.record.parents.get("model", model.weights)
        if certified != model.weights:
            raise ArtefactError(
                f"{entry.path}: certifies other weights than {model.path} measures; delete the older of both and run again"
            )
        accuracy = certified_accuracy(entry.table["correct"], entry.table["radius"], radii)
        found.append(Compared(model, tuple(score.of(model) for score in SCORES), accuracy, line.certificate))
    norm = next(iter(lines.values())).norm
    return Beside(experiment, tuple(radii), norm, tuple(found))


def _first(model: Diagnosed, lines: Mapping[tuple[str, ...], Line]) -> tuple[Line, SeedTable]:
    """The first line of a model, and its table."""
    for (method, noise, _), line in lines.items():
        for entry in line.seeds:
            if (method, noise, entry.seed) == model.key:
                return line, entry
    raise ArtefactError(f"{model.path}: the experiment certifies no model {model.label}; run again")
