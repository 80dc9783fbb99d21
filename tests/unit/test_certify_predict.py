"""PREDICT: classes, abstentions, ties and refusals."""

import numpy as np
import pytest

from certflow.certify import predict_classes
from certflow.certify.predict import prediction_table, score_table

VOTED = {"idx": np.array([4, 9]), "counts": np.array([[60, 40, 0], [5, 5, 90]]), "seconds": np.array([61.5, 0.0])}


def test_announces_the_winner_only_when_the_votes_settle_it():
    counts = [[553, 447, 0], [448, 552, 0], [0, 500, 500], [0, 0, 1000], [334, 333, 333]]
    classes, p_values = predict_classes(np.array(counts), alpha=0.001)
    assert list(classes) == [0, -1, -1, 2, -1]
    assert p_values[0] == pytest.approx(0.00088998596477, rel=1e-10)
    assert p_values[2] == 1.0
    assert list(predict_classes(np.array(counts), alpha=0.002)[0]) == [0, 1, -1, 2, -1]


def test_only_the_two_leading_classes_count():
    few, many = predict_classes(np.array([[60, 30] + [0] * 8]))[1], predict_classes(np.array([[60, 30] + [29] * 8]))[1]
    assert few == many


def test_a_table_of_predictions_claims_no_radius():
    table = prediction_table(VOTED, 0.001, labels=np.array([0, 2]))
    assert list(table) == ["idx", "label", "predict", "radius", "correct", "time", "n", "k", "p_value"]
    assert table.idx.tolist() == [4, 9] and table.predict.tolist() == [-1, 2] and table.radius.tolist() == [0, 0]
    assert table.correct.tolist() == [0, 1] and table.time.tolist() == ["0:01:01.500000", "0:00:00.000000"]
    assert table.n.tolist() == [100, 100] and table.k.tolist() == [60, 90]
    assert prediction_table(VOTED, 0.06).predict.tolist() == [0, 2] and "label" not in prediction_table(VOTED, 0.06)
    assert prediction_table(VOTED, 0.06, 0.01).predict.tolist() == [-1, 2], "slack is taken off alpha"


def test_scores_are_shares_of_the_votes():
    table = score_table(VOTED, np.array([0, 2]))
    assert list(table) == ["idx", "label", "time", "n", "score_0", "score_1", "score_2"]
    assert table[["score_0", "score_1", "score_2"]].to_numpy().tolist() == [[0.6, 0.4, 0.0], [0.05, 0.05, 0.9]]


@pytest.mark.parametrize(
    "counts, alpha, message",
    [
        ([[10, 0]], 0.001, "10 votes .row 0. can never decide at alpha=0.001; draw at least 11"),
        ([[11, 0], [4, 6]], 0.001, "row 1"),
        ([[11]], 0.001, "two classes"),
        ([11, 2], 0.001, "two classes"),
        ([[11, -1]], 0.001, "counts: .* got -1"),
        ([[11.5, 1]], 0.001, "counts: .* got 11.5"),
        ([[11, 0]], 0.5, "alpha"),
        ([[11, 0]], float("nan"), "alpha"),
    ],
)
def test_refusals(counts, alpha, message):
    with pytest.raises(ValueError, match=message):
        predict_classes(np.array(counts), alpha)


def test_so_many_exact_votes_that_nothing_is_left_of_alpha_are_refused_as_such():
    voted = {"idx": np.array([4]), "counts": np.array([[900, 100]]), "seconds": np.zeros(1)}
    assert prediction_table(voted, 0.001, slack=0.0009).predict[0] == 0
    for slack in (0.001, 0.002):
        with pytest.raises(ValueError, match="miss their law by .* leaves nothing of 0.001; draw fewer"):
            prediction_table(voted, 0.001, slack)
