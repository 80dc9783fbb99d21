"""Preset radii decided while drawing: thresholds, one climb at a time, and the stage that a kill does not change."""

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import ndtr
from test_sampling_engine import Bar

from certflow.certify.base import Drawn
from certflow.config import load
from certflow.errors import ConfigError
from certflow.kinds.registry import spec_class
from certflow.models.base import Inference
from certflow.noise import Gaussian
from certflow.noise.streams import Stream
from certflow.sampling import engine, sequential
from certflow.sampling.base import Measurement, PlannedImages
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.images import Reader
from certflow.sampling.ladder import chance, give_up_counts, ladder
from certflow.sampling.measuring import measure
from certflow.sampling.resume import Journal
from certflow.sampling.sequential import Sequence, count_until
from certflow.stats.sequential import log_e_value, look_schedule

SIGMA, RADII = 0.5, np.array([0.0, 0.25, 0.5, 1.0])
Decide = spec_class("sampler", "decide")


def rejects(k: int, n: int, z: float, alpha: float) -> bool:
    return k >= n * ndtr(z) and log_e_value(k, n, ndtr(z), ndtr(-z)) >= math.log(1 / alpha)


def climb(hits: np.ndarray, looks: np.ndarray, alpha: float, beta: float) -> tuple[float, int]:
    """The definition, one image: (largest radius held, draws made). hits: bool [draws]."""
    held = -1
    for n in looks:
        k = int(hits[:n].sum())
        while held + 1 < len(RADII):
            if not rejects(k, n, RADII[held + 1] / SIGMA, alpha):
                break
            held += 1
        if held + 1 == len(RADII):
            break
        z, last = RADII[held + 1] / SIGMA, looks[-1]
        needed = next(m for m in range(int(last * ndtr(z)), last + 2) if m > last or rejects(m, last, z, alpha))
        if k + last - n < needed:
            break
        if n < last:
            mean, rest = (k + 0.5) / (n + 1), last - n
            spread = math.sqrt(rest * mean * (1 - mean) * (n + 1 + rest) / (n + 2))
            if ndtr((k + rest * mean - needed + 0.5) / spread) < beta:
                break
    return (RADII[held] if held >= 0 else -1.0), int(n)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.62, 0.7, 0.85, 0.97, 0.999, 1.0])
def test_a_ladder_climbs_as_its_definition_says(p):
    looks = look_schedule(50, 2000)
    rule = ladder(RADII, ndtr(-RADII / SIGMA), looks, alpha=0.01, beta=0.05)
    draws = np.random.default_rng(int(p * 1000)).random((20, looks[-1])) < p
    decided, drawn, open_ = np.full(20, -1.0), np.zeros(20, int), np.ones(20, bool)
    for look, n in enumerate(looks):
        k = draws[:, :n].sum(axis=1)
        now, finished = rule.judge(look, k[open_], decided[open_])
        decided[open_], drawn[open_] = now, n
        open_[np.flatnonzero(open_)[finished]] = False
    assert [climb(row, looks, 0.01, 0.05) for row in draws] == list(zip(decided, drawn, strict=True))


def test_the_most_that_counts_can_have_led_to_is_that_of_the_best_order_of_the_draws():
    looks = np.array([8, 14, 24])
    rule, largest = ladder(RADII[:3], ndtr(-RADII[:3] / SIGMA), looks, alpha=0.2, beta=1e-9), {}
    for path in itertools.product(*(range(n + 1) for n in looks)):
        steps = np.diff([0, *path])
        if (steps < 0).any() or (steps > np.diff([0, *looks])).any():
            continue
        decided = np.array([-1.0])
        for look, k in enumerate(path):
            decided = rule.judge(look, np.array([k]), decided)[0]
            largest[look, k] = max(largest.get((look, k), -1.0), decided[0])
    assert set(largest.values()) == {-1.0, *RADII[:3]}
    for look, n in enumerate(looks):
        found = rule.most(look, np.arange(n + 1))
        assert found.tolist() == [largest[look, k] for k in range(n + 1)]
    at_once = rule.judge(2, np.arange(25), np.full(25, -1.0))[0]
    assert (found > at_once).any(), "earlier looks must matter here"


@pytest.mark.parametrize(("k", "n", "needed"), [(90, 100, 950), (95, 100, 930), (480, 500, 965), (60, 100, 560)])
def test_the_chance_of_a_radius_is_about_its_beta_binomial_law(k, n, needed):
    exact = stats.betabinom.sf(needed - k - 1, 1000 - n, k + 0.5, n - k + 0.5)
    assert chance(np.array(k), np.array(n), 1000, needed) == pytest.approx(exact, abs=0.03)


def test_the_chance_has_the_mean_and_the_spread_of_that_law_and_its_ends():
    """The normal law of the beta-binomial's moments, with half a count for continuity."""
    for k, n, needed in [(90, 100, 950), (480, 500, 965), (3, 50, 120), (0, 10, 300), (700, 701, 990)]:
        law = stats.betabinom(1000 - n, k + 0.5, n - k + 0.5)
        wanted = ndtr((k + law.mean() - needed + 0.5) / law.std())
        assert chance(np.array(k), np.array(n), 1000, needed) == pytest.approx(wanted, rel=1e-9)
    at = lambda k, n, needed: float(chance(np.array(k), np.array(n), 1000, needed))  # noqa: E731
    assert at(89, 990, 100) == 0 < at(90, 990, 100), "all that is left must hit"
    assert (at(100, 1000, 100), at(99, 1000, 100)) == (1, 0)


def test_counts_are_given_up_up_to_the_last_that_has_too_small_a_chance():
    looks = np.array([1, 2, 5, *look_schedule(50, 2000)])  # after one miss, or two, not even 0 hits are too few
    for needed, beta in ((1000, 0.02), (1990, 0.3)):
        for n, last in zip(looks, give_up_counts(looks, needed, beta), strict=True):
            k = np.arange(n + 1)
            hopeless = chance(k, np.full(n + 1, n), 2000, needed) < beta
            assert last == (k[hopeless].max() if hopeless.any() else -1)


def test_nothing_is_given_up_that_could_still_hold_when_beta_is_tiny():
    looks = look_schedule(50, 2000)
    for needed in (1200, 1990, 2000):
        counts = give_up_counts(looks, needed, 1e-300)
        assert (counts >= np.minimum(needed - (2000 - looks) - 1, looks)).all(), "hopeless counts must be given up"
    assert (give_up_counts(looks, 2001, 0.01) == looks).all()


def test_every_image_ends_at_the_last_look():
    looks = look_schedule(100, 1000)
    rule = ladder(RADII, ndtr(-RADII / SIGMA), looks, alpha=0.001, beta=0.001)
    for k in range(0, 1001, 50):
        decided, _ = rule.judge(len(looks) - 1, np.array([k]), np.array([-1.0]))
        assert rule.judge(len(looks) - 1, np.array([k]), decided)[1].all()


def test_slack_makes_every_rung_harder():
    looks = look_schedule(100, 10_000)
    plain = ladder(RADII, ndtr(-RADII / SIGMA), looks, alpha=0.001, beta=0.001)
    careful = ladder(RADII, ndtr(-RADII / SIGMA), looks, alpha=0.001, beta=0.001, slack=0.001)
    assert (careful.accept >= plain.accept).all() and (careful.accept > plain.accept).any()
    impossible = ladder(RADII[:2], np.array([0.5, 0.001]), looks, alpha=0.001, beta=0.001, slack=0.001)
    assert impossible.accept[1].tolist() == (looks + 1).tolist(), "no number of draws rules out what may be the slack"


def test_exact_arithmetic_gives_its_distance_away():
    noise, plan = Gaussian(sigma=0.5), {"n": np.array([100_000]), "selected": np.array([0])}
    rules = [
        Decide(arithmetic=arithmetic, test="mixture", n_max=100_000).measurements(PlannedImages(plan, noise))[0].rule
        for arithmetic in ("float", "exact")
    ]
    assert (rules[1].accept >= rules[0].accept).all() and (rules[1].accept - rules[0].accept <= 1).all()
    certificate = spec_class("certificate", "sequential")(sampler="decide")
    table, counts = (
        pd.DataFrame({"idx": [0], "label": [0], "selected": [0], "k0": [9], "n0": [10], "n": [10]}),
        [[9, 1]],
    )
    given = {"extra": {"decided": np.array([0.25])}, "dim": 3072, "slack": noise.distance(3072)}
    assert certificate.certify(Drawn(table, np.array(counts), noise, **given))["radius"].tolist() == [0.25]
    largest = {**given, "slack": noise.distance(1 << 24)}
    assert certificate.certify(Drawn(table, np.array(counts), noise, **largest))["radius"].tolist() == [0.25]
    with pytest.raises(ValueError, match="larger than exact decisions allow"):
        certificate.certify(Drawn(table, np.array(counts), noise, **{**given, "slack": noise.distance(1 << 25)}))


def base() -> BaseClassifier:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    return BaseClassifier(net, Inference(precision="float32"), shape=(1, 4, 4), batch=64)


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)


INDEX = np.array([3, 0, 8, 2, 11, 5, 6])
RULE = ladder(RADII, ndtr(-RADII / SIGMA), look_schedule(50, 3000), alpha=0.001, beta=0.001)


SELECTED = np.array([0, 1, 2, 0, 1, 2, 0])


def drawn_until(rule, journal=None, subset=slice(None), **options):
    return count_until(
        base(),
        images()[subset],
        INDEX[subset],
        SELECTED[subset],
        rule,
        noise=Gaussian(sigma=SIGMA),
        seed=1,
        stream=Stream.ESTIMATION,
        journal=journal,
        quiet=True,
        **options,
    )


class SecondLook:
    """Ends the even images at the first look and all others at the second."""

    looks = np.array([10, 20, 30, 40])

    def judge(self, look, k, decided):
        return np.full(len(k), float(look)), np.arange(len(k)) % 2 == 0 if look == 0 else np.ones(len(k), bool)


def test_work_ends_with_the_last_image_and_takes_the_time_that_is_stated():
    told, began = [], time.monotonic()
    found = drawn_until(SecondLook(), description="climb", watch=lambda *news: told.append(news))
    assert 0 < found.seconds.min() and found.seconds.sum() <= time.monotonic() - began
    assert told == [("climb", 4, 7), ("climb", 7, 7)] and found.look == 2, "nobody is looked at a third time"
    assert found.drawn.tolist() == [10, 20] * 3 + [10] and found.decided.tolist() == [0, 1] * 3 + [0]
    assert found.counts.sum(axis=1).tolist() == found.drawn.tolist()


def test_progress_is_shown_of_all_images_from_where_the_job_goes_on(tmp_path, monkeypatch):
    class Half(Journal):
        def read(self):
            arrays = {"counts": np.zeros((7, 3), np.int64), "seconds": np.zeros(7), "look": np.array(1)}
            ended = np.arange(7) < 3
            return {**arrays, "drawn": np.where(ended, 10, 0), "decided": np.zeros(7), "finished": ended}

        def due(self):
            return False

    bars = []
    for module in (sequential, engine):
        monkeypatch.setattr(module, "progress", lambda *told, **more: bars.append(Bar(*told, **more)) or bars[-1])
    told = {"noise": Gaussian(sigma=SIGMA), "seed": 1, "stream": 1, "journal": Half(tmp_path / "counts", "job")}
    count_until(base(), images(), INDEX, np.zeros(7, np.int64), SecondLook(), description="stage 2", **told)
    assert bars[0].told == ((7, "img", "stage 2"), {"initial": 3, "quiet": False}) and bars[0].done == 7
    assert [bar.told[1]["quiet"] for bar in bars[1:]] == [True], "what is drawn between looks has no bar of its own"


def test_progress_counts_the_draws_of_images_that_have_not_ended():
    drawn, finished = np.array([10, 30, 30, 30, 0]), np.array([True, False, False, False, False])
    state = Sequence(np.zeros((5, 3)), drawn, np.zeros(5), np.zeros(5), finished)
    assert state.ended(40) == 3, "one image, and three at three quarters of what they may need"


def test_counts_are_those_of_the_first_draws_and_of_no_other_image():
    found = drawn_until(RULE)
    assert len(set(found.drawn.tolist())) > 1, "the images should end at different looks"
    plain = count_classes(
        base(), images(), INDEX, found.drawn, noise=Gaussian(sigma=SIGMA), seed=1, stream=Stream.ESTIMATION, quiet=True
    )
    assert np.array_equal(found.counts, plain.counts)
    for subset in (slice(0, 2), slice(2, 7)):
        part = drawn_until(RULE, subset=subset)
        assert np.array_equal(part.counts, found.counts[subset]) and np.array_equal(part.decided, found.decided[subset])


def test_images_are_read_when_their_turn_comes_at_every_look(monkeypatch):
    """Those of a large data set do not fit in memory."""
    monkeypatch.setattr(engine, "CHUNK_ROWS", 64)
    monkeypatch.setattr(engine, "CHUNK_SECONDS", 0.0)
    whole, most = drawn_until(RULE), []

    def read(rows: slice) -> np.ndarray:
        most.append(len(images()[rows]))
        return images()[rows]

    wanted = Measurement("counts", Gaussian(sigma=SIGMA), Stream.ESTIMATION, np.full(7, 3000), None, RULE, SELECTED)
    lazy = measure(base(), Reader(read), INDEX, wanted, seed=1, quiet=True)
    for name in ("counts", "drawn", "decided"):
        assert np.array_equal(lazy[name], getattr(whole, name))
    assert max(most) <= 3, "three images at most have a part of 64 rows at the first look"


def test_partial_counts_belong_to_the_classes_and_parameters_that_were_planned():
    whole = Measurement(
        "counts",
        Gaussian(sigma=SIGMA),
        Stream.ESTIMATION,
        np.array([5, 6]),
        np.array([0.5, 0.25]),
        RULE,
        np.array([1, 0]),
    )
    assert whole.planned() == {"draws": [5, 6], "parameter": [0.5, 0.25], "selected": [1, 0]}
    assert whole.part(slice(1, 2)).planned() == {"draws": [6], "parameter": [0.25], "selected": [0]}
    assert Measurement("counts", whole.noise, whole.stream, whole.draws).planned() == {"draws": [5, 6]}


def test_a_stopping_rule_needs_the_classes_that_it_looks_at():
    """Without them the counts would be made to the last draw, and nothing would say so."""
    with pytest.raises(ValueError, match="counts: a stopping rule needs `selected`"):
        Measurement("counts", Gaussian(sigma=SIGMA), Stream.ESTIMATION, np.array([5, 6]), rule=RULE)


@pytest.mark.parametrize("kill_at", [1, 2, 5, 9, 14])
def test_a_killed_run_ends_with_the_same_decisions(tmp_path, kill_at):
    whole = drawn_until(RULE)
    calls = 0

    class Killed(Exception):
        pass

    def judge(look, k, decided):
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        return RULE.judge(look, k, decided)

    class Dying:
        looks = RULE.looks

    Dying.judge = staticmethod(judge)
    path = tmp_path / "counts.npz.partial"
    with pytest.raises(Killed):
        drawn_until(Dying, Journal(path, "job", seconds=0))
    assert list(tmp_path.iterdir()), "something must have been stored"
    again = drawn_until(RULE, Journal(path, "job", seconds=0))
    for name in ("counts", "drawn", "decided"):
        assert np.array_equal(getattr(again, name), getattr(whole, name))


def test_settings_that_cannot_work_are_named():
    assert "radii: must increase" in Decide(radii=[0.5, 0.25]).problems()[0]
    assert "look: must be at most n_max=49" in Decide(n_max=49).problems()[0]


def decide_config(certificate: dict) -> dict:
    return {
        "datasets": {"digits": {"kind": "digits"}},
        "images": {"all": {}},
        "noises": {"gauss": {"kind": "gaussian", "sigma": 0.5}},
        "models": {"small": {"kind": "small_conv"}},
        "methods": {"gaussian": {"kind": "gaussian"}},
        "samplers": {"decide": {"kind": "decide"}, "fixed": {"kind": "fixed"}},
        "certificates": {"c": certificate},
        "experiments": {
            "e": {
                "dataset": "digits",
                "model": "small",
                "images": "all",
                "noises": ["gauss"],
                "methods": ["gaussian"],
                "certificates": ["c"],
                "radii": [0.5],
            }
        },
    }


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        (
            {"kind": "neyman_pearson", "sampler": "decide"},
            "counts of a decide sampler need another certificate: sequential",
        ),
        (
            {"kind": "sequential", "sampler": "fixed"},
            "counts of a fixed sampler need another certificate: one for a fixed",
        ),
        ({"kind": "sequential", "sampler": "decide", "alpha": 0.01}, "stops at alpha=0.001; give both the same"),
    ],
)
def test_certificates_that_do_not_fit_the_way_of_stopping_are_refused(certificate, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        load(decide_config(certificate))
    load(decide_config({"kind": "sequential", "sampler": "decide"}))
