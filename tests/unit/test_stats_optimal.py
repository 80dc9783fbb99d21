"""Ladders by backward induction: an independent slow induction over whole counts, prices, searches, and what is spent."""

import math
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from certflow.stats.crossing import crossing as changes_sign
from certflow.stats.crossing import last_above, least
from certflow.stats.lattice import Prior, atoms
from certflow.stats.optimal import Rule, Rung, Rungs, boundaries, growing_looks
from certflow.stats.truncated import spending

PRIOR = Prior(np.array([-0.6, 0.1, 0.9, 1.8]), np.array([0.2, 0.3, 0.4, 0.1]))
LOOKS = np.array([2, 5, 9])
REWARD, PRICE = 40.0, -8
PENALTY = REWARD * 2 ** (PRICE / 8)


def likelihoods(misses: int, n: int) -> list[float]:
    """Weight of each atom times the likelihood of so many misses in n draws."""
    q = ndtr(-PRIOR.z)
    return [w * x**misses * (1 - x) ** (n - misses) for w, x in zip(PRIOR.weights, q, strict=True)]


def crossing(gain: list[float]) -> float:
    """Up to how many misses one rejects: half way counts as linear interpolation says."""
    good = [h for h, value in enumerate(gain) if value > 0]
    if not good:
        return -1.0
    last = good[-1]
    return float(last) if last + 1 == len(gain) else last + gain[last] / (gain[last] - gain[last + 1])


def hopeless(value: list[float]) -> float:
    """From how many misses on nothing is worth a draw."""
    good = [h for h, one in enumerate(value) if one > 0]
    if not good:
        return 0.0
    last = good[-1]
    if last + 1 == len(value):
        return last + 1.0
    return last + (value[last] / (value[last] - value[last + 1]) if value[last + 1] < 0 else 0.5)


def induction(q0: float, beyond: list[np.ndarray] | None, hidden: list[np.ndarray]) -> dict:
    """A rung's rule by loops over all counts of misses, with exact binomial laws; `beyond`: what is to come after it; `hidden`:
    how often the penalty is paid at each count."""
    q, rungs = ndtr(-PRIOR.z), 1 if beyond is None else beyond[0].shape[1] - 1
    reject, give_up, to_come, following, size = [], [], [], [], []
    for look in reversed(range(len(LOOKS))):
        n, taken, on, null, above, ratio = int(LOOKS[look]), [], [], [], [], []
        for h in range(n + 1):
            seen = likelihoods(h, n)
            above.append(sum(x for x, one in zip(seen, q, strict=True) if one < q0) / sum(seen))
            ratio.append(q0**h * (1 - q0) ** (n - h) / sum(seen))
            after = np.zeros(1 + rungs) if beyond is None else beyond[look][h]
            row = np.array([after[0], after[1], above[h], *after[2:]]) if beyond is not None else np.zeros(3)
            row[2] = above[h]
            row[0] += REWARD * above[h]
            taken.append(row)
            if look + 1 == len(LOOKS):
                on.append(np.zeros_like(row))
                null.append(0.0)
                continue
            draws = int(LOOKS[look + 1]) - n
            x = np.arange(draws + 1)
            law = sum(w * binom.pmf(x, draws, one) for w, one in zip(seen, q, strict=True)) / sum(seen)
            later = sum(p * following[h + m] for m, p in enumerate(law))
            on.append(later + np.array([-draws, draws, *[0.0] * (len(row) - 2)]))
            null.append(sum(p * size[h + m] for m, p in enumerate(binom.pmf(x, draws, q0))))
        cost = [PENALTY * r * many * (1 - later) for r, many, later in zip(ratio, hidden[look], null, strict=True)]
        gain = [t[0] - max(o[0], 0.0) - c for t, o, c in zip(taken, on, cost, strict=True)]
        gain = [max(g, 1.0 - c) if a > 0.5 else g for g, a, c in zip(gain, above, cost, strict=True)]
        threshold = crossing(gain)
        reject.insert(0, threshold)
        give_up.insert(0, hopeless([max(g, o[0]) for g, o in zip(gain, on, strict=True)]))
        last = threshold in (-1.0, float(n))
        share = [float(h <= threshold) if last else min(max(threshold - h + 0.5, 0.0), 1.0) for h in range(n + 1)]
        going = [o if o[0] > 0 else np.zeros_like(o) for o in on]
        following = [s * t + (1 - s) * o for s, t, o in zip(share, taken, going, strict=True)]
        size = [s + (1 - s) * later for s, later in zip(share, null, strict=True)]
        to_come.insert(0, np.array(following))
    n = int(LOOKS[0])
    law = sum(w * binom.pmf(np.arange(n + 1), n, one) for w, one in zip(PRIOR.weights, q, strict=True))
    whole = law @ to_come[0] + np.array([-n, n, *[0.0] * (to_come[0].shape[1] - 2)])
    found = {"reject": reject, "give_up": give_up, "to_come": to_come, "whole": whole}
    return found | {"size": binom.pmf(np.arange(n + 1), n, q0) @ np.array(size)}


def test_rules_are_those_of_an_induction_over_all_counts():
    """Few draws, so that the lattice holds every count. Two rungs: the lower one is worth what comes after it, too. Some counts
    are dearer than others."""
    upper, beyond = Rung(0.2, LOOKS, PRIOR), None
    hidden = [1 + np.random.default_rng(n).random(n + 1) for n in LOOKS.tolist()]
    lower, rule, rules = Rung(0.45, LOOKS, PRIOR, upper), None, []
    for rung in (upper, lower):
        rule = rung.solve(REWARD, PRICE, rule, hidden)
        wanted = induction(rung.q0, beyond, hidden)
        beyond = wanted["to_come"]
        assert rule.reject == pytest.approx(wanted["reject"], abs=1e-9)
        assert rule.give_up == pytest.approx(wanted["give_up"], abs=1e-9)
        assert rule.size == pytest.approx(wanted["size"], rel=1e-9)
        assert rule.whole == pytest.approx(wanted["whole"], rel=1e-9)
        assert all(one == pytest.approx(other, abs=1e-9) for one, other in zip(rule.to_come, beyond, strict=True))
        rules.append(rule)
    assert rules[1].draws == rules[1].whole[1] and list(rules[1].held) == list(rules[1].whole[2:])
    assert len(rules[1].held) == 2 and len(rules[0].held) == 1
    assert 2 < rules[1].draws < 9 and 0 < rules[1].held[1] < rules[1].held[0] < 1, "some of everything happens"


@pytest.mark.parametrize("penalty", [-280, 200])
def test_a_rung_that_costs_nothing_is_taken_at_once_and_one_that_costs_all_never(penalty):
    rule = Rung(0.3, LOOKS, PRIOR).solve(REWARD, penalty)
    assert (rule.size > 0.9) if penalty < 0 else (rule.size == 0 and (rule.reject == -1).all())
    assert rule.draws == 2, "either way there is no reason to draw on"


def test_the_penalty_is_the_least_eighth_of_an_octave_that_keeps_the_level():
    rung = Rung(0.2, np.array([20, 40, 80]), PRIOR)
    found = rung.priced(300.0, 0.01)
    assert found.size == rung.solve(300.0, found.penalty).size <= 0.01 < rung.solve(300.0, found.penalty - 1).size
    then = rung.priced(300.0, 0.01, before=found)
    wanted = rung.solve(300.0, then.penalty, hidden=rung.hidden(found))
    assert np.array_equal(then.reject, wanted.reject) and then.size <= 0.01


def test_a_ladder_is_solved_from_its_highest_rung_down():
    looks, failure = np.array([20, 40, 80]), [0.4, 0.2]
    rungs = Rungs(failure, looks, PRIOR, 0.01)
    lower, upper = rungs.solve([100.0, 300.0])
    alone = Rung(0.2, looks, PRIOR)
    rule = alone.priced(300.0, 0.01)
    both = Rung(0.4, looks, PRIOR, alone).priced(100.0, 0.01, rule)
    assert np.array_equal(upper.reject, rule.reject) and np.array_equal(lower.reject, both.reject)
    assert lower.draws == both.draws and len(lower.held) == 2
    then = rungs.solve([100.0, 300.0], [lower, upper])
    assert np.array_equal(then[1].reject, alone.priced(300.0, 0.01, before=upper).reject)


@pytest.mark.parametrize("threshold", [-160, -159, -3, 0, 1, 77, 239, 240, 1000])
def test_a_search_finds_the_least_that_is_good_in_few_steps(threshold):
    for guess in (-500, -160, 0, 76, 78, 239, 500):
        tried = []
        found, i = least(lambda i, tried=tried: tried.append(i) or -i, lambda x: -x >= threshold, (-160, 240), guess)
        assert (found, i) == (-min(threshold, 240), min(threshold, 240))
        assert len(tried) == len(set(tried)) <= 19 and -160 <= min(tried)
        assert max(tried) < 240 or (threshold >= 240 and tried.index(240) == len(tried) - 1), "that it is good is known"
        if abs(threshold - guess) <= 1 and -160 < threshold < 239:
            assert len(tried) <= 4, "a good guess saves the search"


@pytest.mark.parametrize(
    ("gain", "share", "threshold"),
    [
        ([-1, -2, -3], [0, 0, 0], 3.0),
        ([1, 2, 3], [1, 1, 1], 10.0),
        ([1, 3, -1], [1, 1, 0.25], 9.25),
        ([1, -3, -1], [0.75, 0, 0], 4.75),
        ([-1, 2, -2], [1, 1, 0], 8.5),
    ],
)
def test_one_rejects_up_to_where_the_gain_changes_its_sign(gain, share, threshold):
    """Of the nodes 4, 7 and 10: all of those before it, and of the two beside it what linear interpolation gives."""
    found = changes_sign(np.array([4, 7, 10]), np.array(gain, float))
    assert found[0].tolist() == share and found[1] == threshold


@pytest.mark.parametrize(
    ("value", "end"), [([-1, -1, -1], 4.0), ([1, 1, 1], 11.0), ([1, 3, -1], 9.25), ([1, 0, 0], 5.5), ([1, -1, 0], 5.5)]
)
def test_nothing_is_worth_a_draw_from_where_its_worth_falls_to_0(value, end):
    """Half way to the next node where that is worth exactly nothing; beyond the last one where it is worth something."""
    assert last_above(np.array([4, 7, 10]), np.array(value, float)) == end


def test_looks_are_15_percent_apart():
    looks = growing_looks(50, 1000)
    assert looks.tolist() == [50, 57, 65, 74, 85, 97, 111, 127, 146, 167, 192, 220, 253, 290, 333, 382, 439, 504, 579,
                              665, 764, 878, 1000]  # fmt: skip
    assert growing_looks(1, 9).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9] and growing_looks(8, 8).tolist() == [8]
    assert growing_looks(20, 8).tolist() == [8]


def test_atoms_lie_around_their_rung_at_growing_distances():
    steps = [0.005 * 1.5**i for i in range(17)]
    z, edges = atoms([float(ndtr(-1.0))])
    assert z == pytest.approx(sorted([1 + s for s in steps] + [1 - s for s in steps]))
    assert edges[0] == -math.inf and edges[-1] == math.inf
    assert edges[1:-1] == pytest.approx([(a + b) / 2 for a, b in zip(z[:-1], z[1:], strict=True)])


def test_atoms_of_two_rungs_reach_half_way():
    z, edges = atoms([float(ndtr(-0.4)), float(ndtr(-1.4))])
    near = np.abs(z[:, None] - np.array([0.4, 1.4]))
    own = near.argmin(axis=1)
    assert (np.diff(z) > 0).all() and (np.diff(own) >= 0).all() and len(edges) == len(z) + 1
    distances = np.log(near.min(axis=1) / 0.005) / np.log(1.5)
    assert distances == pytest.approx(np.round(distances), abs=1e-6)
    assert (z <= 0.9).sum() == 17 + 12 and (z > 0.9).sum() == 12 + 17, "0.005 * 1.5^11 is the last below one half"


def test_boundaries_spend_the_level_as_the_rule_would():
    q0, looks = 0.2, np.array([30, 60, 120, 240])
    rule = Rung(q0, looks, PRIOR).priced(500.0, 0.02)
    accept, give_up = boundaries(q0, looks, rule, 0.02)
    wished = spending(looks, looks - np.floor(rule.reject).astype(int), q0)
    allowed = 0.02 * wished / wished[-1]
    spent = spending(looks, accept, q0)
    assert (spent <= allowed).all()
    for look in range(4):
        fewer = accept.copy()
        fewer[look] -= 1
        assert spending(looks, fewer, q0)[look] > allowed[look] * (1 - 1e-5)
    wanted = np.minimum(np.maximum(looks - np.ceil(rule.give_up), -1), accept - 1)
    assert give_up[:-1].tolist() == wanted[:-1].tolist() and give_up[-1] == 240 and accept.dtype == np.int64
    assert ndtri(1 - q0) > 0 and (give_up[:-1] > 0).any()
    never = boundaries(q0, looks, replace(rule, give_up=looks + 1.0), 0.02)[1]
    assert never.tolist() == [-1, -1, -1, 240], "not even without a hit, until draws end"


def chain(q0: float, looks: np.ndarray, reward: float, level: float) -> tuple[Rung, list[Rule]]:
    """A rung under an even prior, and its rules one after the other."""
    z, rules = atoms([q0])[0], [None]
    rung = Rung(q0, looks, Prior(z, np.full(len(z), 1 / len(z))))
    for _ in range(3):
        rules.append(rung.priced(reward, level, before=rules[-1]))
    return rung, rules[1:]


def later(law: dict[int, float], draws: int, q: Fraction) -> dict[int, Fraction]:
    """The law of misses after further draws, count by count."""
    chance = [comb(draws, more) * q**more * (1 - q) ** (draws - more) for more in range(draws + 1)]
    found: dict[int, Fraction] = {}
    for misses, mass in law.items():
        for more, share in enumerate(chance):
            found[misses + more] = found.get(misses + more, Fraction(0)) + mass * share
    return found


def test_hidden_paths_are_those_that_were_given_up():
    """Against a walk over all counts with exact binomial laws; the looks are so early that every count is a node."""
    rung, rules = chain(0.3, np.array([10, 20, 32]), 400.0, 0.01)
    everyone = drawn = {0: Fraction(1)}
    for view, step, stay, hidden in zip(rung.views, rung.steps, rules[-1].stay, rung.hidden(rules[-1]), strict=True):
        everyone, drawn = (later(law, step.draws, Fraction(3, 10)) for law in (everyone, drawn))
        nodes = [h for h in view.nodes.tolist() if h in everyone]
        for h, found in zip(nodes, hidden, strict=False):
            many = everyone[h] >= 1000 * drawn.get(h, 0)
            assert found == pytest.approx(1000 if many else float(everyone[h] / drawn[h]), rel=1e-6), "up to a thousand"
        everyone, drawn = (
            {h: law[h] * Fraction(share) for h, share in zip(nodes, shares, strict=False) if law.get(h)}
            for law, shares in ((everyone, stay[0]), (drawn, stay[1]))
        )


def test_the_level_is_better_spent_when_hidden_paths_are_known():
    """Fewer draws, less what is earned, at the same level; and then the paths belong to the rule."""
    _, rules = chain(0.16, growing_looks(50, 60_000), 2.0**16, 0.001)
    cost = [rule.draws - 2.0**16 * rule.held[0] for rule in rules]
    assert cost[1] < cost[0] - 50 and abs(cost[2] - cost[1]) < 20
    assert all(0.0009 < rule.size <= 0.001 for rule in rules)
