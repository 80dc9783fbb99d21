"""What must be said beside the numbers of a diagnosis, and how its figures are read."""

from collections.abc import Mapping, Sequence
from math import factorial

from certflow.report.attacked import Attacked
from certflow.report.diagnosis.models import Diagnosed
from certflow.report.diagnosis.scores import SCORES, Beside
from certflow.report.numbers import counted
from certflow.stats.ranks import EXHAUSTIVE

READINGS = {
    "volatility": (
        "Volatility by depth",
        "Mean over random pairs of data points of the difference in loss per distance between representations, at each layer; "
        "bars are 95 % intervals over points. Below: distances in units of the layer's mean one, so that models and layers "
        "compare; above, a layer whose representations are twice as long has half the volatility. Small is stable, but a "
        "network that says the same of everything has none at all: read it beside the accuracy.",
    ),
    "certificate": (
        "Certificate over the distance, distributional",
        "A point (δ, y) of a joint curve says: of random pairs of data points, at least y percent are δ or more apart in this "
        "layer, or their losses differ by less than η. Dashed, of the pairs that are closer than δ alone. Dotted, the joint "
        "event counted directly, which is tighter and has to be counted anew at each δ. None of them is a certified accuracy: "
        "they say nothing of changes of one input.",
    ),
    "attacks": (
        "Accuracy over attack strength",
        "Share of inputs that are right, and for which no attack up to this strength found a wrong class; bands are 95 % "
        "bootstrap intervals over inputs. An upper bound of the true robust accuracy: a stronger attack may find more.",
    ),
    "scores": (
        "Scores beside certified accuracy",
        "A point for each model: its score over what smoothing certifies of it at the middle radius. ρ is Spearman's rank "
        "correlation, p how often a random order of the models has one as far from 0.",
    ),
}
"""Figure → heading and how to read it."""


def score_notes(models: Sequence[Diagnosed]) -> list[str]:
    """What stands under the overview."""
    loss = models[0].losses[0]
    made = "; ".join(f"{score.name}: {score.says}" for score in SCORES)
    return [
        f"Scores. {made}. The first two are of the loss {loss}. A network that says the same of everything has the best "
        "scores: read them beside the accuracy."
    ]


def layer_notes(models: Sequence[Diagnosed]) -> list[str]:
    """What stands under the tables of layers."""
    spec = models[0].record.spec
    measured, points = spec["measured"], int(models[0].volatility["points"].iloc[0])
    noisy = [model.label for model in models if model.record.notes["noisy"]]
    lines = [
        f"{points:,} random points of the test split; {measured['distance']} distances, {measured['stabiliser']:g} added to "
        "each, in units of the mean distance where volatility is scale-free. They speak of the law of which the test split is "
        "a sample.",
    ]
    if noisy:
        lines.append(f"Under noise, one noisy copy of each point is looked at: {', '.join(noisy)}.")
    for remark in dict.fromkeys(text for model in models for text in model.volatility["remarks"] if text):
        layers = dict.fromkeys(
            layer for model in models for layer in model.volatility.loc[model.volatility["remarks"] == remark, "layer"]
        )
        lines.append(f"{', '.join(layers)}: {remark}.")
    return lines


def certificate_notes(models: Sequence[Diagnosed]) -> list[str]:
    """What stands under the certificate."""
    measured, row = models[0].record.spec["measured"], models[0].certified.iloc[0]
    lines = [
        f"Loss {measured['certified']}, η = {min(measured['etas']):g}; each curve, at all its distances together, is wrong "
        f"with probability at most {measured['alpha']:g} ({measured['bound']}, {row['points']:,} points, {row['pairs']:,} "
        "disjoint pairs). The distances were chosen by other points.",
        "The points must have chosen neither the network nor the layer: weights and recipes that were picked by their test "
        "accuracy break the guarantee.",
    ]
    if not row["sound"]:
        lines.append(f"The bound {measured['bound']} holds only as the sample grows: these curves are estimates.")
    return lines


def attack_notes(attacks: Mapping[tuple, tuple[Attacked, ...]]) -> list[str]:
    """What stands under accuracies under attack."""
    found = {one.attack: one for each in attacks.values() for one in each}
    images = {one.survived.shape[1] for one in found.values()}
    lines = [
        f"{' and '.join(counted(count, 'input') for count in sorted(images))}, those of the attack's own entry of `images`."
    ]
    lines.append(
        "Macro-F1: the mean over classes of the F1 of the classes after the attack; it weighs rare classes like others."
    )
    smoothed = [name for name, one in found.items() if one.smoothed]
    if smoothed:
        lines.append(
            f"{', '.join(smoothed)}: the smoothed classifier is attacked; an abstention shows no wrong class and is counted as "
            "left."
        )
    plain = [name for name, one in found.items() if not one.smoothed]
    if plain:
        lines.append(
            f"{', '.join(plain)}: the network itself is attacked, without noise, whatever noise it was trained under."
        )
    return lines


def beside_notes(found: Beside) -> list[str]:
    """What stands under the correlations."""
    least = 2 / factorial(min(len(found.models), EXHAUSTIVE))
    lines = [
        "p-values are of each pair by itself, two-sided, none adjusted for their number; they take the models for a random "
        "choice, which models of one recipe at several noise levels are not."
        + (
            f" With {len(found.models)} models none can lie below {least:.2g}."
            if len(found.models) <= EXHAUSTIVE
            else ""
        ),
        "A score that falls where certified accuracy rises (ρ near −1) would be a cheap sign of it; neither explains the "
        "other.",
    ]
    certificates = dict.fromkeys(one.certificate for one in found.models)
    lines.append(f"Certified accuracy: {', '.join(certificates)}, on the experiment's own images.")
    return lines
