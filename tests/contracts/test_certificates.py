"""What every certificate promises, whatever its formula: one set of tests for all kinds, noises and samplers that fit."""

from typing import get_args

import numpy as np
import pytest
from catalogue import DIM, file_of, small
from halfspaces import ADDITIVE, BY_CHANCE, DIRECTIONS, TRIPLES, Beside, fitting, named, second_stage
from scipy import stats

from certflow.certify.base import Claim
from certflow.kinds.registry import kinds
from certflow.noise.radii import Norm, shift_of

COLUMNS = {"predict", "radius", "p_lower", "p_upper", "k", "reason", "saturated"}
SHARES = np.array([0.0, 0.2, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 0.999, 1.0])
"""Shares of the draws that hit the selected class."""
COUNTED = {}
"""What `counted` made for a noise, a sampler and a share; it depends on no certificate."""
every_triple = pytest.mark.parametrize("triple", TRIPLES, ids=named)
by_chance = pytest.mark.parametrize("triple", BY_CHANCE, ids=named)
additive = pytest.mark.parametrize("triple", ADDITIVE, ids=named)


def counted(noise, sampler, first_share=0.9):
    """Images with the same stage-1 counts whose stage-2 draws hit the selected class as often as `SHARES` says."""
    key = noise.digest(), sampler.digest(), first_share
    if key not in COUNTED:
        k0 = round(first_share * sampler.n0)
        first = np.tile(np.array([[sampler.n0 - k0, k0]]), (len(SHARES), 1))
        COUNTED[key] = second_stage(sampler, noise, first, lambda measurement: shared(measurement.draws))
        COUNTED[key].counts.flags.writeable = False
    return COUNTED[key]


def reach(certificate, noise):
    """The largest radius that there is under a noise; preset ones may lie beyond it."""
    return float(shift_of(noise, certificate.norm).radius(np.zeros(1), noise, DIM)[0])


def shared(draws):
    """Hits spread evenly over the draws."""
    return [np.diff(np.floor(np.arange(n + 1) * s)) > 0 for n, s in zip(draws, SHARES, strict=True)]


@pytest.mark.parametrize("kind", kinds("certificate"))
def test_there_are_draws_that_it_can_be_had_from(kind):
    assert list(fitting(kind)), (
        f"no noise and sampler fit the example of {file_of('certificate', kind)}; let `problems` accept one of each, or give "
        "an `example` that fits"
    )


@every_triple
def test_the_table_has_its_columns_and_abstains_with_radius_0(triple):
    certificate, noise, sampler = triple
    drawn = counted(noise, sampler)
    kept = drawn.counts.copy()
    table = certificate.certify(drawn)
    assert COLUMNS <= set(table.columns) and len(table) == len(SHARES) and np.array_equal(drawn.counts, kept)
    radius, predict = table["radius"].to_numpy(), table["predict"].to_numpy()
    assert np.isfinite(radius).all() and (radius >= 0).all() and (radius[predict == -1] == 0).all()
    assert set(predict) <= ({0, 1} if certificate.exhaustive else {-1, 1})
    assert (table["p_lower"].between(0, 1) & table["p_upper"].between(0, 1)).all()
    assert set(table.loc[predict == -1, "reason"]) <= {"low_pA", "not_sampled"}
    assert set(table.loc[predict != -1, "reason"]) <= {""}
    unanimous = np.isin(SHARES, (0, 1) if certificate.exhaustive else 1)
    every = unanimous & certificate.fixed  # preset radii are decided before all draws are made
    assert (table["saturated"] == every).all(), "saturated says that all draws hit the class"


@every_triple
def test_it_claims_norm_level_and_domain(triple):
    certificate, noise, sampler = triple
    claim = certificate.claim(counted(noise, sampler))
    assert isinstance(claim, Claim) and claim.norm == certificate.norm and claim.norm in get_args(Norm)
    assert 0 <= claim.alpha < 0.5 and claim.domain == ("8-bit grid" if certificate.exhaustive else "real")


@every_triple
@pytest.mark.parametrize("first_share", [0.9, 1.0])
def test_radii_grow_with_the_count(triple, first_share):
    certificate, noise, sampler = triple
    radius = certificate.certify(counted(noise, sampler, first_share))["radius"].to_numpy()
    radius = radius[SHARES >= 0.5]  # below, what chooses the class itself chooses the other one
    assert radius[-1] > 0
    if sampler.sequential and certificate.fixed:
        return  # it sees where the draws were stopped, and more hits may stop them sooner
    assert (np.diff(radius) >= -1e-9).all()


@by_chance
def test_half_of_the_draws_certify_nothing(triple):
    certificate, noise, sampler = triple
    table = certificate.certify(counted(noise, sampler))
    assert (table.loc[SHARES <= 0.5, "predict"] == -1).all() and (table.loc[SHARES <= 0.5, "radius"] == 0).all()


@every_triple
def test_images_that_are_not_sampled_are_not_certified(triple):
    certificate, noise, sampler = triple
    drawn = counted(noise, sampler)
    numbers = [name for name in drawn.plan if name == "n" or name.startswith("n_")]
    plan = drawn.plan.assign(**dict.fromkeys(numbers, 0))
    extra = {name: np.full_like(values, -1 if name == "decided" else 0) for name, values in drawn.extra.items()}
    empty = type(drawn)(plan, np.zeros_like(drawn.counts), noise, DIM, drawn.seed, extra)
    table = certificate.certify(empty)
    assert (table["predict"] == -1).all() and (table["radius"] == 0).all() and (table["reason"] == "not_sampled").all()
    assert not table["saturated"].any()


@by_chance
def test_radii_scale_with_sigma(triple):
    """The same counts under a law twice as wide. Radii that were listed beforehand cannot shrink."""
    certificate, noise, sampler = triple
    wider = noise.model_copy(update={"sigma": 2 * noise.sigma})
    drawn = counted(noise, sampler)
    radius = certificate.certify(drawn)["radius"].to_numpy()
    if not certificate.fixed:
        drawn = counted(wider, sampler)
        assert (certificate.certify(drawn)["radius"].to_numpy() >= radius).all()
        return
    doubled = type(drawn)(drawn.plan, drawn.counts, wider, DIM, drawn.seed, drawn.extra)
    np.testing.assert_allclose(certificate.certify(doubled)["radius"].to_numpy(), 2 * radius, rtol=1e-9)


@every_triple
def test_an_image_is_certified_by_its_own_counts(triple):
    """In another order, each image has the same radius."""
    certificate, noise, sampler = triple
    drawn = counted(noise, sampler)
    order = np.random.default_rng(1).permutation(len(SHARES))
    extra = {name: values[order] for name, values in drawn.extra.items()}
    plan = drawn.plan.iloc[order].reset_index(drop=True)
    turned = type(drawn)(plan, drawn.counts[order], noise, DIM, drawn.seed, extra)
    one, other = certificate.certify(drawn), certificate.certify(turned)
    assert other["radius"].tolist() == one["radius"].to_numpy()[order].tolist()


@pytest.mark.parametrize("direction", DIRECTIONS)
@additive
def test_no_radius_reaches_beyond_a_plane(triple, direction):
    """Noise is really drawn beside a plane. The true radius is the distance to it in the certificate's own norm; too large
    ones may be as many as alpha allows (rejected wrongly with probability 1e-6)."""
    certificate, noise, sampler = triple
    beside = Beside(DIRECTIONS[direction], noise)
    drawn = beside.drawn(sampler)
    table, claim = certificate.certify(drawn), certificate.claim(drawn)
    true = np.where(table["predict"] == 1, beside.radius(claim.norm), -beside.radius(claim.norm))
    wrong = int((table["radius"].to_numpy() > np.maximum(true, 0)).sum())
    wrong += int(((table["predict"] == 0) & (beside.offset > 0)).sum())
    assert stats.binom.sf(wrong - 1, len(true), max(claim.alpha, 1e-6)) > 1e-6
    certified = table["predict"].to_numpy()[beside.offset >= 2 * noise.sigma] == 1
    assert certified.all(), "images two standard deviations away from the plane must be certified"


def test_too_large_radii_would_be_noticed():
    noise, sampler = small("noise", "gaussian"), small("sampler", "fixed")
    beside = Beside(DIRECTIONS["one pixel"], noise)
    radius = 1.1 * beside.radius("l2")
    wrong = int((radius > beside.radius("l2")).sum())
    assert stats.binom.sf(wrong - 1, len(radius), 0.001) < 1e-6
    assert beside.drawn(sampler).counts.sum() == len(radius) * sampler.n
