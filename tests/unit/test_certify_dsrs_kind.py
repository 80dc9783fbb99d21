"""Certificates from counts under two laws, under generalised Gaussian noise, and in l-infinity."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from certflow.certify import CountsError, certificate_table, dsrs_radius, gg_np_radius, memory
from certflow.certify.base import Claim, Drawn
from certflow.certify.double_sampling.counted import remarks
from certflow.certify.kinds.dsrs import DoubleSampling
from certflow.certify.kinds.inscribed import Inscribed, inscribed_radius
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.kinds.registry import revive
from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.noise.kinds.none import NoNoise
from certflow.sampling.kinds.double import Double
from certflow.sampling.kinds.fixed import Fixed
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

DIM, K, SIGMA, N = 784, 380, 0.5, 50_000
NOISE = GeneralizedGaussian(k=K, sigma=SIGMA)
GAUSSIAN = Gaussian(sigma=SIGMA)
DSRS = DoubleSampling(sampler="double")
SAMPLER = Double(n=N, n_q=N)


def two_classes(hits, draws) -> np.ndarray:
    return np.stack([np.asarray(hits), np.asarray(draws) - np.asarray(hits)], axis=1)


def plan_of(n, n_q, q_kind, q_param) -> pd.DataFrame:
    images = len(n)
    return pd.DataFrame(
        {
            "idx": np.arange(images) * 10, "label": 0, "selected": 0, "k0": 100, "n0": 100,
            "n": n, "n_q": n_q, "q_kind": q_kind, "q_param": q_param,
        }
    )  # fmt: skip


def certify(spec, n, k, n_q, k_q, q_kind, q_param, noise=NOISE, dim=DIM) -> pd.DataFrame:
    plan = plan_of(n, n_q, q_kind, q_param)
    extra = {"counts_q": two_classes(k_q, n_q)}
    return certificate_table(Drawn(plan, two_classes(k, n), noise, extra=extra, dim=dim), spec, np.zeros(len(n)))


@pytest.fixture(scope="module")
def mixed() -> pd.DataFrame:
    """One image of each second law, one that is lost, one that was not sampled, one planned as pooled."""
    return certify(
        DSRS,
        n=[N, N, N, 0, 2 * N],
        k=[48_000, 48_000, 10_000, 0, 2 * N],
        n_q=[N, N, N, N, 0],
        k_q=[49_500, 49_000, 20_000, 0, 0],
        q_kind=["truncated", "scaled", "truncated", "truncated", "pooled"],
        q_param=[0.6, 0.8, 0.6, 0.6, 1.0],
    )


def interval(k, n, alpha=0.00025):
    return [clopper_pearson_lower([k], [n], alpha), clopper_pearson_upper([k], [n], alpha)]


def test_each_image_has_the_radius_of_its_own_second_law(mixed):
    ball = dsrs_radius(*interval(48_000, N), *interval(49_500, N), DIM, K, SIGMA, "truncated", 0.6)
    scaled = dsrs_radius(*interval(48_000, N), *interval(49_000, N), DIM, K, SIGMA, "scaled", 0.8 * SIGMA)
    for row, found in ((0, ball), (1, scaled)):
        assert mixed.radius[row] == pytest.approx(found["radius"][0], abs=1e-8)
        assert mixed.radius[row] > mixed.radius_np[row] == pytest.approx(found["radius_np"][0], abs=1e-8)
        assert (mixed.case[row], mixed.status[row], mixed.predict[row]) == (found["case"][0], "ok", 0)
    assert list(mixed.k_q) == [49_500, 49_000, 20_000, 0, 0]
    np.testing.assert_array_equal([mixed.p_lower, mixed.p_upper], [mixed.pa_low, 1 - mixed.pa_low])
    np.testing.assert_allclose(
        mixed.loc[0, ["pa_low", "pa_high"]].astype(float), np.ravel(interval(48_000, N)), rtol=1e-8
    )


def test_lost_and_unsampled_images_abstain(mixed):
    assert list(mixed.predict[2:4]) == [-1, -1]
    assert list(mixed.radius[2:4]) == [0, 0]
    assert list(mixed.reason[2:4]) == ["low_pA", "not_sampled"]
    assert list(mixed.status[2:4]) == ["abstain", "abstain"]


def test_planned_pooling_has_one_bound_at_the_whole_level(mixed):
    expected = gg_np_radius(clopper_pearson_lower([2 * N], [2 * N], 0.001), DIM, K, SIGMA)[0]
    assert mixed.radius[4] == pytest.approx(expected, abs=1e-8)
    assert mixed.radius[4] <= expected
    assert mixed.saturated[4] and mixed.status[4] == "pooled"


@pytest.mark.parametrize(
    "pooled, low",
    [
        ("peer", clopper_pearson_lower(2 * N - 3, 2 * N, 0.0005)),
        ("strict", clopper_pearson_lower(N, N, 0.00025)),
        ("off", clopper_pearson_lower(N, N, 0.00025)),
    ],
)
def test_pooling_after_the_first_half(pooled, low):
    spec = DoubleSampling(sampler="double", pooled=pooled)
    table = certify(spec, [N], [N], [N], [N - 3], ["pooled"], [1.0])
    assert table.pa_low[0] == pytest.approx(low, abs=1e-9)
    assert table.radius[0] == pytest.approx(gg_np_radius([low], DIM, K, SIGMA)[0], abs=1e-6)


def test_strict_pooling_takes_the_better_half():
    spec = DoubleSampling(sampler="double", pooled="strict")
    table = certify(spec, [N], [N - 50], [N], [N - 3], ["pooled"], [1.0])
    assert table.pa_low[0] == pytest.approx(clopper_pearson_lower(N - 3, N, 0.00025), abs=1e-9)


def test_shares_move_level_between_the_bounds():
    arguments = ([N], [48_000], [N], [49_500], ["truncated"], [0.6])
    even, own = (
        certify(DSRS, *arguments),
        certify(DSRS.model_copy(update={"shares": [0.45, 0.05, 0.25, 0.25]}), *arguments),
    )
    assert own.pa_low[0] > even.pa_low[0] and own.pa_high[0] > even.pa_high[0]
    assert own.radius[0] > even.radius[0]
    with pytest.raises(ValidationError, match="at most 1"):
        DoubleSampling(sampler="double", shares=[0.5, 0.5, 0.1, 0.1])


@pytest.mark.parametrize(("alpha", "share"), [(0.001, 1e-9), (1e-9, 1e-3)])
def test_a_share_that_no_bound_is_computed_for_is_refused_with_the_configuration(alpha, share):
    with pytest.raises(ValueError, match=f"shares.3: {share:g} of alpha is a level of .*; give it .* or more"):
        DoubleSampling(sampler="double", alpha=alpha, shares=[0.3, 0.3, 0.3, share])
    enough = DoubleSampling(sampler="double", alpha=alpha, shares=[0.3, 0.3, 0.3, 3 * share])
    assert len(certify(enough, [N], [48_000], [N], [49_500], ["truncated"], [0.6])) == 1


def test_the_label_can_be_certified_instead_of_the_selected_class():
    plan = plan_of([N], [N], ["truncated"], [0.6]).assign(selected=1)
    counts, extra = two_classes([48_000], [N]), {"counts_q": two_classes([49_500], [N])}
    drawn = Drawn(plan, counts, NOISE, dim=DIM, extra=extra)
    selected, label = (
        certificate_table(drawn, DSRS.model_copy(update={"target": target}), np.zeros(1))
        for target in ("selected", "label")
    )
    assert (selected.predict[0], label.predict[0], label.correct[0]) == (-1, 0, 1)


def test_both_certificates_read_the_same_counts():
    n, k, n_q, k_q = [N, N], [48_000, 49_900], [N, N], [49_500, 49_990]
    double = certify(DSRS, n, k, n_q, k_q, ["truncated"] * 2, [0.6] * 2)
    single = certify(NeymanPearson(sampler="double"), n, k, n_q, k_q, ["truncated"] * 2, [0.6] * 2)
    expected = gg_np_radius(clopper_pearson_lower(k, n, 0.001), DIM, K, SIGMA)
    np.testing.assert_allclose(single.radius, expected, atol=1e-8)
    assert (single.radius <= expected).all()
    assert (double.radius > single.radius).all()


def test_exponent_zero_is_the_gaussian_certificate():
    noise = GeneralizedGaussian(k=0, sigma=SIGMA)
    plan, counts = plan_of([N], [N], ["truncated"], [0.6]), two_classes([48_000], [N])
    ours, theirs = (NeymanPearson(sampler="s").certify(Drawn(plan, counts, law)) for law in (noise, GAUSSIAN))
    pd.testing.assert_frame_equal(ours, theirs)


def test_impossible_pairs_are_refused_beforehand():
    laplace, fixed = NoNoise(), Fixed(n=N)
    assert DSRS.problems(NOISE, SAMPLER) == [] == DSRS.problems(GAUSSIAN, SAMPLER)
    assert DSRS.problems(laplace, fixed) == [
        "double sampling needs Gaussian or generalised Gaussian noise, not kind none",
        "sampler kind fixed draws from one law only; a sampler of kind double is needed",
    ]
    two = NeymanPearson(sampler="s", bound_form="two")
    assert two.problems(NOISE, fixed)[0].startswith("bound_form: no l2 radius from two bounds is known")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"extra": {}}, "counts lack counts_q"),
        ({"extra": {"counts_q": np.zeros((2, 2), np.int64)}}, "do not fit"),
        ({"extra": {"counts_q": two_classes([10], [N - 1])}}, "image idx 0: counts sum"),
        ({"plan": {"q_kind": ["ball"]}}, "image idx 0: q_kind is ball"),
        ({"plan": {"q_param": [1.5]}}, "a percentile is at most 1"),
        *(
            ({"plan": {"q_kind": ["scaled"], "q_param": [value]}}, "must be above 0")
            for value in (-1.0, 0.0, np.inf, np.nan)
        ),
    ],
)
def test_counts_that_do_not_fit_are_refused(change, message):
    plan = plan_of([N], [N], ["truncated"], [0.6]).assign(**change.get("plan", {}))
    extra = change.get("extra", {"counts_q": two_classes([49_500], [N])})
    with pytest.raises(CountsError, match=message):
        DSRS.certify(Drawn(plan, two_classes([48_000], [N]), NOISE, extra=extra, dim=DIM))


def test_a_ball_that_holds_everything_is_a_percentile():
    table = certify(DSRS, [N], [48_000], [N], [48_000], ["truncated"], [1.0])
    assert table.status[0] == "pooled" and table.radius[0] > 0


def test_counts_of_one_law_are_refused():
    plan = plan_of([N], [N], ["truncated"], [0.6]).drop(columns=["q_kind", "n_q"])
    with pytest.raises(CountsError, match="lacks q_kind, n_q.*kind double"):
        DSRS.certify(Drawn(plan, two_classes([48_000], [N]), NOISE, extra={}, dim=DIM))


@pytest.mark.parametrize("spec", [DSRS, NeymanPearson(sampler="s")], ids=lambda spec: spec.kind)
def test_the_dimension_is_needed(spec):
    with pytest.raises(ValueError, match="number of coordinates"):
        certify(spec, [N], [48_000], [N], [49_500], ["truncated"], [0.6], dim=None)


def test_linf_radii_are_l2_radii_over_the_root_of_the_dimension():
    arguments = ([N, N], [48_000, 10], [N, N], [49_500, 10], ["truncated"] * 2, [0.6] * 2)
    for of in ({"kind": "dsrs"}, {"kind": "neyman_pearson"}):
        spec = Inscribed(norm="linf", sampler="double", of=of)
        assert spec.norm == "linf"
        table, l2 = certify(spec, *arguments), certify(spec.inner(), *arguments)
        np.testing.assert_array_equal(table.radius_l2, l2.radius)
        np.testing.assert_allclose(table.radius, l2.radius / 28, rtol=1e-15)
        assert (table.radius <= l2.radius / 28).all()
        assert spec.claim(Drawn(None, None, NOISE)) == Claim("linf", 0.001, "real")
        np.testing.assert_array_equal(table.predict, l2.predict)
        for name in {"radius_np"} & set(l2):  # what lies beside it, too
            np.testing.assert_allclose(table[name], l2[name] / 28, rtol=1e-15)


def test_a_published_conversion():
    """`llylly/DSRS`, files L2-Linfty: 0.42963496 on CIFAR-10 becomes 0.0077515582."""
    assert inscribed_radius(np.array([0.42963496]), "l2", "linf", 3072)[0] == pytest.approx(
        0.0077515582, abs=1e-10
    )  # 5e-9 / sqrt(3072)


def test_inscribed_entries_keep_the_inner_certificate_in_their_identity():
    spec = Inscribed(norm="linf", sampler="s", alpha=0.01, of={"kind": "neyman_pearson"})
    assert spec.inner() == NeymanPearson(sampler="s", alpha=0.01)
    assert spec.canonical()["of"]["bound_form"] == "one"
    assert revive("certificate", spec.canonical()).inner() == spec.inner()
    assert spec.problems(NoNoise(), Fixed()) == spec.inner().problems(NoNoise(), Fixed()) != []


@pytest.mark.parametrize(
    "of, message",
    [
        ({}, "which kind"),
        ({"kind": "neyman_pearson", "alpha": 0.01}, "leave it out"),
        ({"kind": "unknown"}, "no certificate of kind 'unknown'"),
        ({"kind": "neyman_pearson", "bound_form": "three"}, "bound_form"),
        ({"kind": "dssn"}, "alpha"),  # deterministic, while the entry states a level
        ({"kind": "inscribed", "norm": "linf", "of": {"kind": "dsrs"}}, "is inscribed itself"),
        ({"kind": "inscribed", "norm": "l1", "of": {"kind": "dsrs"}}, "is inscribed itself"),
        ({"kind": "sequential"}, "preset radii"),
    ],
)
def test_only_certificates_of_another_norm_and_a_fixed_number_of_draws_are_converted(of, message):
    with pytest.raises(ValidationError, match=message):
        Inscribed(norm="linf", sampler="s", of=of)
    with pytest.raises(ValidationError, match="states its radii in l2 already"):
        Inscribed(norm="l2", sampler="s", of={"kind": "dsrs"})


@pytest.mark.parametrize(
    "of, line",
    [
        ({"kind": "unknown"}, "Value error, of: kind: no certificate of kind 'unknown'; known: "),
        ({"kind": "dsrs", "shares": 3}, "Value error, of: shares: "),
    ],
)
def test_problems_of_the_l2_certificate_are_one_line_each(of, line):
    with pytest.raises(ValidationError) as caught:
        Inscribed(norm="linf", sampler="s", of=of)
    (error,) = caught.value.errors()
    assert error["msg"].startswith(line) and "configuration" not in error["msg"] and "https" not in error["msg"]


def test_the_log_says_what_looks_odd(caplog):
    certify(DSRS, [N] * 3, [48_000, 48_000, 30_000], [N] * 3, [20_000, 49_000, 32_000], ["truncated"] * 3, [0.6] * 3)
    assert "33.3% of the images have counts that no classifier makes" in caplog.text
    caplog.clear()
    certify(DSRS, [N], [48_000], [500], [490], ["scaled"], [0.35])
    assert "overlaps the noise by less than 0.01" in caplog.text and "fewer than 1000 draws" in caplog.text
    caplog.clear()
    certify(DSRS, [N, 2 * N], [48_000, 90_000], [N, 0], [49_000, 0], ["scaled", "pooled"], [0.8, 1.0])
    assert caplog.text == ""


def test_what_looks_odd_begins_where_it_is_said_to():
    """One image in a hundred, an overlap of 1 %, a thousand draws: at the limit nothing is said, beyond it something is."""

    def said(status="ok", kind="truncated", parameter=0.6, n_q=N, a=12.0) -> list[str]:
        images = np.atleast_1d(status)
        kinds, draws = np.full(len(images), kind), np.full(len(images), n_q)
        return [line[:12] for line in remarks(images, kinds, np.full(len(images), parameter), draws, a)]

    assert said() == said(n_q=1000) == said(n_q=0) == said(kind="pooled", n_q=10) == said(status=[]) == []
    assert said(n_q=999) == said(n_q=1) == ["fewer than 1"]
    assert said(status=["ok"] * 99 + ["infeasible"]) == []
    assert said(status=["ok"] * 98 + ["infeasible"] * 2) == ["2.0% of the "]
    for target, wanted in ((0.0101, []), (0.0099, ["the second l"])):
        c = target ** (1 / 12.0)
        assert said(kind="scaled", parameter=c / (1 + np.sqrt(1 - c * c))) == wanted
    assert said(kind="truncated", parameter=0.01) == []


def test_certificates_of_labels_ask_for_them():
    labels, images = DoubleSampling(sampler="double", target="label"), np.zeros((1, 1, 4, 4), np.uint8)

    def network(x):
        return x.flatten(1)[:, :2]

    for certificate in (labels, Inscribed(sampler="double", norm="linf", of={"kind": "dsrs", "target": "label"})):
        assert certificate.judges_label
        with pytest.raises(ValueError, match="labels: must be given"):
            memory.certify(network, images, GAUSSIAN, Double(n0=20, n=40, n_q=40), certificate)
    assert not DSRS.judges_label
