"""Tables by layer: each cell is what the functions give, distances come from points that are not certified with."""

import numpy as np
import pytest

from certflow import knowledge
from certflow.knowledge.features import Features
from certflow.knowledge.losses import LOSSES
from certflow.knowledge.measure import certificate_table, volatility_table
from certflow.knowledge.settings import Measured


def features(n=200):
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 4, n), rng.normal(size=(n, 4)).astype(np.float32)
    logits[np.arange(n), labels] += 2.5
    z = {"1.a": rng.normal(size=(n, 6)).astype(np.float32), "1.b": 3 * rng.normal(size=(n, 20)).astype(np.float32)}
    return Features({**z, "logits": logits}, logits, labels)


def test_volatility_by_layer_and_loss():
    found = features()
    table = volatility_table(found, Measured())
    assert list(zip(table.layer, table.loss, strict=True))[:4] == [
        ("1.a", "ce"), ("1.a", "prob"), ("1.a", "zero_one"), ("1.b", "ce"),
    ]  # fmt: skip
    assert table.depth.tolist() == [0.0] * 3 + [0.5] * 3 + [1.0] * 3 and table.dim.tolist()[::3] == [6, 20, 4]
    row = table.iloc[3]
    one = knowledge.volatility(found.z["1.b"], LOSSES["ce"].of(found.logits, found.labels), "l2", 0.01)
    assert row.volatility == pytest.approx(one.value) and row.standard_error == pytest.approx(one.standard_error)
    assert row.relative == pytest.approx(one.value * one.mean_distance, rel=0.02) and row.relative != row.volatility
    unit = knowledge.volatility(
        found.z["1.b"], LOSSES["ce"].of(found.logits, found.labels), "l2", 0.01, unit=one.mean_distance
    )
    assert row.relative == unit.value and row.relative_error == unit.error_in_units() > 0
    assert set(table.accuracy) == {float((found.logits.argmax(1) == found.labels).mean())}
    p = 1 - LOSSES["prob"].of(found.logits, found.labels)
    assert row.ball_score == pytest.approx(knowledge.discontinuity(found.z["1.b"], p))


def test_the_curve_of_every_layer():
    found = features()
    table = certificate_table(found, Measured(deltas=7))
    assert table.groupby("layer").size().to_dict() == {"1.a": 7, "1.b": 7, "logits": 7}
    part = table[table.layer == "1.b"].reset_index(drop=True)
    losses = LOSSES["zero_one"].of(found.logits, found.labels)
    expected = knowledge.certify(found.z["1.b"][40:], losses[40:], part.delta, [1.0], 0.05, stabiliser=0.01)
    assert part.joint_bound.to_numpy() == pytest.approx(expected.joint_bound.to_numpy())
    assert set(part.points) == {160} and set(table.claim) == {"distributional"}
    assert part.delta_over_mean.between(0.5, 1.6).all() and part.delta_over_mean.is_monotonic_increasing
    assert not any("accuracy" in column for column in table)


def test_a_layer_that_says_nothing_is_named():
    found = features()
    found.z["1.a"][:] = 1
    with pytest.raises(ValueError, match=r"layer 1\.a: z: all representations are equal"):
        volatility_table(found, Measured(stabiliser=0.0))
