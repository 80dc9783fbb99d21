"""Tables of a network's layers from its features: volatility by depth, and the certificate's curve at each layer."""

from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.knowledge.balls import discontinuity
from certflow.knowledge.certificates import certify
from certflow.knowledge.losses import LOSSES
from certflow.knowledge.pairs import disjoint_pairs, points
from certflow.knowledge.ratios import volatilities
from certflow.knowledge.settings import Measured

if TYPE_CHECKING:
    import pandas as pd

    from certflow.knowledge.features import Features

TUNED = 5
"""One point in TUNED only serves to choose the distances of the grid; the others are certified with."""


def volatility_table(features: "Features", spec: Measured) -> "pd.DataFrame":
    """A row for each layer and loss. `relative` is the volatility in units of the mean distance, which does not change with the
    scale of a layer, and `relative_error` its standard error; `ball_score` that of the probability of the true class, whatever
    the loss; `accuracy` that of the network at these points."""
    import pandas as pd

    labels, rows = features.labels, []
    losses = {name: LOSSES[name].of(features.logits, labels) for name in spec.losses}
    missed = LOSSES["prob"].of(features.logits, labels)
    accuracy = 1 - float(LOSSES["zero_one"].of(features.logits, labels).mean())
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
                    "accuracy": accuracy,
                    "volatility": of.value,
                    "standard_error": of.standard_error,
                    "relative": relative[name].value,
                    "relative_error": relative[name].error_in_units(),
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

    The points must be in random order: the first of them, one in `TUNED`, choose the distances, the others are certified with.
    """
    import pandas as pd

    loss = LOSSES[spec.certified]
    losses, tune = loss.of(features.logits, features.labels), len(features.labels) // TUNED
    tables = []
    for layer, z in features.z.items():
        apart = _at(layer, points, z[:tune], losses[:tune], spec.distance).between(*disjoint_pairs(tune, spec.seed))[0]
        deltas = np.unique(np.quantile(apart, (np.arange(spec.deltas) + 0.5) / spec.deltas))
        options: dict[str, Any] = {"distance": spec.distance, "stabiliser": spec.stabiliser, "seed": spec.seed}
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
