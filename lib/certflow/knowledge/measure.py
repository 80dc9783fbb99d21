"""Tables of a network's layers from its features: volatility by depth, and the certificate's curve at each layer."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from certflow.kinds.spec import Record
from certflow.knowledge.balls import discontinuity
from certflow.knowledge.certificates import certify
from certflow.knowledge.losses import LOSSES
from certflow.knowledge.pairs import disjoint_pairs, points
from certflow.knowledge.ratios import volatilities

if TYPE_CHECKING:
    import pandas as pd

    from certflow.knowledge.features import Features

TUNED = 5
"""One point in so many chooses the distances of the grid, and is not certified with."""


class Measured(Record):
    """What is measured at every layer."""

    distance: Literal["l1", "l2", "linf", "cosine"] = "l2"
    """Distance between representations."""
    losses: list[Literal["ce", "prob_ce", "prob", "zero_one"]] = Field(["ce", "prob", "zero_one"], min_length=1)
    """Losses whose volatility is reported."""
    stabiliser: float = Field(0.01, ge=0)
    """Added to every distance."""
    certified: Literal["prob_ce", "prob", "zero_one"] = "zero_one"
    """The bounded loss that is certified."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Probability that a layer's curve is wrong anywhere."""
    bound: Literal["emp_bernstein", "hoeffding", "clt", "bootstrap"] = "emp_bernstein"
    """How the kernel's mean is bounded; the last two hold only as the sample grows."""
    etas: list[float] = Field([1.0], min_length=1)
    """Differences of losses that are certified against."""
    deltas: int = Field(25, ge=1, le=1000)
    """Distances of the grid: quantiles of the distances between points that are not certified with."""
    seed: int = Field(0, ge=0)
    """Which points are paired."""


def volatility_table(features: "Features", spec: Measured) -> "pd.DataFrame":
    """A row for each layer and loss. `relative` is the volatility in units of the mean distance, which does not change with the
    scale of a layer; `ball_score` that of the probability of the true class, whatever the loss."""
    import pandas as pd

    labels, rows = features.labels, []
    losses = {name: LOSSES[name].of(features.logits, labels) for name in spec.losses}
    missed = LOSSES["prob"].of(features.logits, labels)
    for layer, z in features.z.items():
        found = _at(layer, volatilities, z, losses, spec.distance, spec.stabiliser)
        unit = next(iter(found.values())).mean_distance
        relative = _at(layer, volatilities, z, losses, spec.distance, spec.stabiliser, unit=unit or 1.0)
        score = _at(layer, discontinuity, z, missed, distance=spec.distance)
        for name, of in found.items():
            rows.append(
                {
                    "layer": layer,
                    "depth": features.depth(layer),
                    "dim": z.shape[1],
                    "loss": name,
                    "points": len(z),
                    "volatility": of.value,
                    "standard_error": of.standard_error,
                    "relative": relative[name].value,
                    "mean_distance": of.mean_distance,
                    "max_distance": of.max_distance,
                    "p99": float(np.quantile(of.per_point, 0.99)),
                    "zero_pairs": of.zero_pairs,
                    "infinite_pairs": of.infinite_pairs,
                    "ball_score": score,
                    "remarks": "; ".join(of.remarks),
                }
            )
    return pd.DataFrame(rows)


def certificate_table(features: "Features", spec: Measured) -> "pd.DataFrame":
    """`certify` at every layer, with `delta_over_mean`: distances in units of the layer's mean, so that models compare.

    The points must be in random order: the first of every `TUNED` choose the distances, the others are certified with.
    """
    import pandas as pd

    loss = LOSSES[spec.certified]
    losses, tune = loss.of(features.logits, features.labels), len(features.labels) // TUNED
    tables = []
    for layer, z in features.z.items():
        apart = _at(layer, points, z[:tune], losses[:tune], spec.distance).between(*disjoint_pairs(tune, spec.seed))[0]
        deltas = np.unique(np.quantile(apart, (np.arange(spec.deltas) + 0.5) / spec.deltas))
        options: dict[str, Any] = {"distance": spec.distance, "seed": spec.seed}
        if spec.stabiliser > 0:
            options["stabiliser"] = spec.stabiliser
        asked = (deltas[deltas > 0], spec.etas, spec.alpha, spec.bound, loss.width(features.logits.shape[1]))
        table = _at(layer, certify, z[tune:], losses[tune:], *asked, **options)
        table.insert(0, "layer", layer)
        table.insert(2, "delta_over_mean", table.delta / apart.mean())
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _at(layer: str, function: Any, *given: Any, **options: Any) -> Any:
    """The function's result; what it refuses is refused with the layer's name."""
    try:
        return function(*given, **options)
    except ValueError as error:
        raise ValueError(f"layer {layer}: {error}") from None
