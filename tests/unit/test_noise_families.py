"""The noise families: bits of their draws, equal laws under two names, limits, small shapes, refusals."""

import math

import mpmath
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, special, stats

from certflow.certify.radii import radius
from certflow.kinds.registry import spec_class
from certflow.noise import (
    Exp1,
    Exp2,
    ExpInf,
    ExponentialPower,
    Gaussian,
    IndependentSplitting,
    Laplace,
    Pareto,
    Pow2,
    PowInf,
    Uniform,
    UniformBall,
    directions,
    philox,
)
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.gamma import log_quantiles
from certflow.noise.radii import kinds_with_radii, norms_of, problem, problems, shift_of
from certflow.noise.radii.checks import RADIUS_GUARD
from certflow.noise.radii.flow import FlowTable
from certflow.noise.radii.kinds import exp1, exp_inf, expp, pareto, pow_inf
from certflow.noise.radii.kinds.exp_inf import radial_table
from certflow.noise.radii.spherical.growth import growth
from certflow.noise.radii.spherical.half_table import GUARD
from certflow.noise.radii.spherical.profiles import Exponential, Power, ProfileTable, profile_table
from certflow.noise.radii.spherical.stirling import log_step
from certflow.noise.radii.two_bounds import by_flow, by_overlap
from certflow.noise.scaled import Independent, Radial, Scaled
from certflow.noise.splitting import Splitting

SEED, SHAPE = 0x0123456789ABCDEF, (1, 3, 4)
P = np.array([0.5, 0.51, 0.6, 0.75, 0.9, 0.99, 0.9999])


def words(count: int, image: int, draw: int, first_group: int | None = None) -> list[int]:
    """Words of one draw: of the elements in order, or of one of the last groups."""
    if first_group is None:
        found = philox.words(count, Key(torch.tensor([image]), torch.tensor([draw]), seed=SEED, stream=1))
        return found[0].flatten()[:count].tolist()
    group = torch.tensor([2**32 - 1 - first_group])
    counter = (group, torch.tensor([draw]), torch.tensor([image]), torch.tensor([1]))
    return [int(word) for word in philox.philox(counter, (SEED & 0xFFFFFFFF, SEED >> 32))]


def signed(image: int, draw: int) -> np.ndarray:
    found = words(12, image, draw)
    return np.array([((w & 0x7FFFFFFF) + 0.5) / 2**31 * (-1 if w >> 31 else 1) for w in found])


def wide(image: int, draw: int, number: int) -> float:
    high, low, *_ = words(0, image, draw, number)
    return ((high << 20 | low >> 12) + 0.5) / 2**52


def expected(law, image: int, draw: int) -> np.ndarray:
    """The draw in plain float64, from the definition."""
    v = signed(image, draw)
    size, sign = np.abs(v), np.sign(v)
    u = wide(image, draw, 0)
    if law.kind == "uniform":
        z = v
    elif law.kind == "laplace":
        z = sign * -np.log(size)
    elif law.kind == "pareto":
        z = sign * (size ** (-1 / law.a) - 1)
    elif law.kind == "expp":
        z = sign * special.gammainccinv(1 / law.p, size) ** (1 / law.p)
    elif law.kind == "exp1":
        z = sign * -np.log(size)
        z *= special.gammaincinv(12 / law.k, u) ** (1 / law.k) / np.abs(z).sum()
    else:
        face = math.floor(wide(image, draw, 2) * 24)
        z = v.copy()
        z[face // 2] = 1 - 2 * (face % 2)
        if law.kind == "exp_inf":
            z *= special.gammaincinv((12 - law.j) / law.k, u) ** (1 / law.k)
        else:
            z *= special.gammaincinv(12, u) / special.gammaincinv(law.a - 12, wide(image, draw, 1))
    return z * law.scale(12)


@pytest.mark.parametrize(
    "law",
    [
        Uniform(sigma=0.5), Laplace(sigma=0.5), Pareto(sigma=0.5, a=3), ExponentialPower(sigma=0.5, p=4),
        ExponentialPower(sigma=0.5, p=0.5), Exp1(sigma=0.5, k=2), ExpInf(sigma=0.5, k=10, j=2), PowInf(sigma=0.5, a=20),
    ],
    ids=lambda law: law.kind,
)  # fmt: skip
@pytest.mark.parametrize(("image", "draw"), [(0, 0), (77, 12), (2**32 - 1, 5)])
def test_a_draw_is_what_its_words_say(law, image, draw):
    found = law.sample(SHAPE, Key(torch.tensor([image]), torch.tensor([draw]), seed=SEED, stream=1)).flatten()
    np.testing.assert_allclose(found.double().numpy(), expected(law, image, draw), rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dim", [2, 784, 5043, 33_075, 150_528])
def test_both_ways_of_taking_norms_agree(power, dim):
    values = directions.laplace(philox.signed(dim, Key(torch.arange(3), torch.arange(3), seed=SEED, stream=1)))
    exact = torch.linalg.vector_norm(values.double(), power, dim=1)
    assert torch.allclose(directions._serial_norms(values, power), exact, rtol={1: 5e-6, 2: 5e-7}[power], atol=0)
    assert torch.allclose(directions._fixed_point_norms(values, power), exact, rtol=1e-7, atol=0)


@pytest.mark.parametrize("power", [1, 2])
def test_a_norm_on_a_cpu_does_not_depend_on_threads_and_other_rows(power):
    """Of images with an odd number of coordinates, too: torch adds up one long row by parts, one for each thread."""
    values = directions.laplace(
        philox.signed(3 * 105 * 105, Key(torch.arange(3), torch.arange(3), seed=SEED, stream=1))
    )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        wanted = directions.norms(values, power)
        torch.set_num_threads(3)
        assert torch.equal(directions.norms(values, power), wanted)
        assert torch.equal(torch.cat([directions.norms(row[None], power) for row in values]), wanted)
    finally:
        torch.set_num_threads(threads)


def test_sums_for_norms_on_a_gpu_are_whole_numbers_of_a_billionth():
    """2^-30 exactly: whole numbers add up to the same in any order, and to no more than 63 bits for any image."""
    values = directions.laplace(philox.signed(784, Key(torch.arange(5), torch.arange(5), seed=SEED, stream=1)))
    units = directions._fixed_point_norms(values, 1) * 2.0**30
    assert torch.equal(units, units.round()) and set((units % 2).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("device, way", [("cpu", "_serial_norms"), ("meta", "_fixed_point_norms")])
def test_norms_are_sums_of_whole_numbers_on_all_devices_but_a_cpu(device, way, monkeypatch):
    """Elsewhere the order of a sum may change with the number of rows, and with it a row's last bits."""
    asked = []
    for name in ("_serial_norms", "_fixed_point_norms"):
        monkeypatch.setattr(directions, name, lambda values, power, name=name: asked.append((name, power)))
    directions.norms(torch.empty(2, 8, device=device), 1)
    directions.norms(torch.empty(2, 8, device=device))
    assert asked == [(way, 1), (way, 2)]


@pytest.mark.parametrize("shape", [0.05, 0.125, 0.6])
def test_quantiles_of_small_shapes_agree_with_forty_digits(shape):
    v = np.array([1e-12, 1e-4, 0.01, 0.5, 0.937, 1 - 1e-9])
    with mpmath.workdps(40):
        for u, log_t in zip(v, log_quantiles(shape, torch.from_numpy(v)).tolist(), strict=True):
            t = mpmath.exp(mpmath.mpf(log_t))
            density = t ** (shape - 1) * mpmath.exp(-t) / mpmath.gamma(shape)
            missed = mpmath.gammainc(shape, 0, t, regularized=True) - mpmath.mpf(float(u))
            assert abs(missed / (density * t)) < 2e-11


def test_the_step_of_the_logarithm_of_gamma():
    with mpmath.workdps(40):
        for a, m in ((0.3, 0.2), (6.0, 2.0), (29.9, 0.5), (150_528.0, 0.2), (1e6, 2.0), (20.0, -0.9)):
            exact = mpmath.loggamma(mpmath.mpf(a) + m) - mpmath.loggamma(a)
            assert log_step(a, m) == pytest.approx(float(exact), rel=1e-14, abs=1e-14)


EQUAL = [
    (ExponentialPower(sigma=0.5, p=1), Laplace(sigma=0.5), "l1"),
    (Exp1(sigma=0.5, k=1), Laplace(sigma=0.5), "l1"),
    (Exp2(sigma=0.5, k=2), Gaussian(sigma=0.5), "l2"),
]


@pytest.mark.parametrize(("one", "other", "norm"), EQUAL, ids=lambda value: getattr(value, "kind", ""))
def test_equal_laws_have_equal_radii(one, other, norm):
    np.testing.assert_allclose(radius(one, norm, P, 784), radius(other, norm, P, 784), rtol=1e-6, atol=1e-9)


def test_exponential_power_of_power_2_is_the_gaussian():
    quantile = Gaussian(sigma=0.5)
    found = radius(ExponentialPower(sigma=0.5, p=2), "l1", P)
    np.testing.assert_allclose(found, radius(quantile, "l2", P), rtol=1e-10, atol=1e-12)
    law = ExponentialPower(sigma=0.5, p=1.5)
    np.testing.assert_allclose(radius(law, "l1", P), stats.gennorm(1.5).ppf(P) * law.scale(1), rtol=1e-10, atol=1e-12)
    found = radius(ExponentialPower(sigma=0.5, p=1), "l1", P)  # the least power whose radii need no table
    np.testing.assert_allclose(found, radius(Laplace(sigma=0.5), "l1", P), rtol=1e-10, atol=1e-12)


def test_limits():
    one = radius(Uniform(sigma=0.5), "l1", P)
    np.testing.assert_allclose(radius(ExponentialPower(sigma=0.5, p=100), "l1", P)[:5], one[:5], rtol=3e-4, atol=1e-12)
    np.testing.assert_allclose(radius(ExpInf(sigma=0.5, k=100), "l1", P, 784), one, rtol=2e-5, atol=1e-12)
    for law, norm in ((UniformBall(sigma=0.5), "l2"), (Uniform(sigma=0.5), "linf")):
        np.testing.assert_allclose(radius(law, norm, P, 1), one, rtol=1e-9, atol=1e-11)
    laplace = radius(Laplace(sigma=0.5), "l1", P)
    np.testing.assert_allclose(radius(Laplace(sigma=0.5), "linf", P, 1), laplace, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(radius(ExpInf(sigma=0.5, k=1), "linf", P, 9), laplace_of_cube(9), rtol=1e-6, atol=1e-8)


def test_in_one_dimension_l1_radii_under_exp_inf_noise_are_of_its_largest_density():
    """No set's mass grows faster than the density at the middle, 1/(2λΓ(1 + 1/k))."""
    for k in (1.0, 2.0, 10.0):
        law = ExpInf(sigma=0.5, k=k)
        wanted = (P - 0.5) * 2 * law.scale(1) * math.gamma(1 + 1 / k)
        np.testing.assert_allclose(radius(law, "l1", P, 1), wanted, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("k", [0.5, 1.5, 3.0])
def test_radial_tables_are_of_the_sets_that_grow_fastest(k):
    """Φ(p) by brute force: half of what k r^(k-1) adds up to over the mass 2p where it is largest; T is the sum of dp/Φ."""
    t = special.gammaincinv(6 / k, (np.arange(200_000) + 0.5) / 200_000)
    rate = np.cumsum(np.sort(k * t ** (1 - 1 / k))[::-1]) / 400_000
    p = np.arange(1, 200_001) / 400_000
    time = np.append(np.cumsum((1 / rate[:-1] + 1 / rate[1:])[::-1])[::-1] / 800_000, 0.0)
    at = np.array([1000, 20_000, 100_000, 180_000])
    np.testing.assert_allclose(radial_table(6, k).time(p[at]), time[at], rtol=1e-4)


TABLES = [  # law, its file, the table of its time
    (Exp1(sigma=0.5, k=2), exp1, lambda law: radial_table(9, law.k)),
    (ExpInf(sigma=0.5, k=2), exp_inf, lambda law: radial_table(9, law.k)),
    (PowInf(sigma=0.5, a=20), pow_inf, lambda law: pow_inf.table(9, law.a)),
    (Pareto(sigma=0.5, a=5), pareto, lambda law: pareto.table(law.a)),
    (ExponentialPower(sigma=0.5, p=0.5), expp, lambda law: expp.table(law.p)),
]


@pytest.mark.parametrize("law, file, table", TABLES, ids=lambda value: getattr(value, "kind", ""))
def test_the_error_of_a_law_is_that_of_its_own_table_in_its_own_width(law, file, table):
    error = getattr(file, "error_linf", None) or file.error
    assert error(law, 9) == pytest.approx(law.scale(9) * table(law).error, rel=1e-12)


def test_tables_of_flows_reach_as_far_as_they_say():
    """To masses of exp(-30)/2; smaller ones count as that one."""
    table = FlowTable(lambda p: p)
    found = table.time(np.exp([-29.9, -30.0, -31.0]) / 2)
    assert found == pytest.approx([29.9, 30.0, 30.0], abs=1e-9)


def laplace_of_cube(dim: int) -> np.ndarray:
    return -np.log(2 * (1 - P)) * ExpInf(sigma=0.5, k=1).scale(dim)


def test_laplace_in_linf_is_the_integral_over_all_corners():
    """Φ by brute force: the masses and scores of the 2^d sign patterns, sorted."""
    for dim in (2, 3, 6, 7):
        score = np.sort([bin(pattern).count("1") * 2.0 - dim for pattern in range(2**dim)])[::-1]
        corners = np.concatenate([[0.0], np.cumsum(score)]) / 2**dim
        masses = np.arange(2**dim + 1) / 2**dim
        for q in (0.001, 0.1, 2.0**-dim, 0.25, 0.3, 0.45):
            grid = np.concatenate([[q], masses[(masses > q) & (masses < 0.5)], [0.5]])
            exact = sum(
                integrate.quad(lambda p, c=corners, m=masses: 1 / np.interp(p, m, c), a, b, epsabs=1e-13)[0]
                for a, b in zip(grid[:-1], grid[1:], strict=True)
            )
            found = radius(Laplace(sigma=math.sqrt(2)), "linf", 1 - q, dim)
            assert exact - found == pytest.approx(1e-9 * math.sqrt(2 / dim), rel=0.02), "and its error is given away"


def test_tables_are_never_above_the_integral():
    for rate, exact in (
        (lambda p: p, lambda p: -np.log(2 * p)),
        (lambda p: np.sqrt(p), lambda p: 2 * (0.5**0.5 - p**0.5)),
    ):
        table, p = FlowTable(rate), np.random.default_rng(0).uniform(1e-6, 0.5, 2000)
        away = table.time(p) - exact(p)
        assert np.abs(away).max() <= table.error < 1e-6


def test_the_stated_error_of_a_table_covers_what_its_cells_cannot_follow():
    """A rate with a kink: one cell's cubic and rule are off by far more than all others'."""
    for kink in (0.2, 0.05, 0.4111):
        p = np.concatenate([np.geomspace(kink / 1.02, kink * 1.02, 4001), [1e-9]])
        exact = np.where(p < kink, np.log(kink / np.minimum(p, kink)) + (0.5 - kink) / kink, (0.5 - p) / kink)
        table = FlowTable(lambda q, kink=kink: np.minimum(q, kink))
        away = np.abs(table.time(p) - exact)
        assert 1e-9 < away.max() <= table.error < 1e-4
        beyond = table.time(np.array([0.0, np.exp(-30) / 4, np.exp(-30) / 2]))
        assert beyond == pytest.approx(np.full(3, beyond[2]), rel=1e-12)
    assert FlowTable(lambda q: q).error > 2e-11, "rounding has its share: 1e-12 of the largest time"


def test_pareto_is_its_hypergeometric_form():
    for a in (3.0, 6.0, 100.0):
        u, b = 2 * P - 1, a / (a + 1)
        closed = u / a * special.hyp2f1(1, b, b + 1, u ** (1 + 1 / a))
        law = Pareto(sigma=0.5, a=a)
        np.testing.assert_allclose(radius(law, "l1", P), closed * law.scale(1), rtol=1e-6, atol=2e-7)
        assert (radius(law, "l1", P) <= closed * law.scale(1)).all()


def test_exponential_power_of_one_half_is_the_dilogarithm():
    law = ExponentialPower(sigma=0.5, p=0.5)
    for p in (0.6, 0.9, 0.99):
        c = float(special.gammaincinv(2, 2 * (1 - p)))
        closed = 2 * (float(special.spence(1 - math.exp(-c))) - c * math.log(-math.expm1(-c))) * law.scale(1)
        assert closed * (1 - 1e-6) < radius(law, "l1", p) <= closed


@pytest.mark.parametrize("t", [1e-3, 1e-17, 6e-17, 1e-60])
@pytest.mark.parametrize("level", [-1e4, -300.0, 300.0, 1e4, 1e6])
def test_a_density_falls_as_far_from_next_to_the_centre(t, level):
    """There 1 - k/(t + k) is 0 in floating point, though t/(t + k) is not: the term that ends the growth."""
    k = 783.0
    (x,) = growth(np.array([t]), np.array([level]), k)
    with mpmath.workdps(80):
        above = min(level / k, mpmath.log1p(max(level, 0) / mpmath.mpf(t))) if level > 0 else 0
        root = mpmath.findroot(lambda w: k * w + t * mpmath.expm1(w) - level, above, solver="newton")
        wanted = float(t * mpmath.expm1(root))
    assert x == pytest.approx(wanted, rel=1e-9)


def test_what_cannot_be_is_refused():
    assert "below 63" in ExpInf(sigma=1, j=63).problems(64)[0] and ExpInf(sigma=1, j=62.5).problems(64) == []
    assert "above 66" in PowInf(sigma=1, a=66).problems(64)[0]
    assert "above (d + 2)/k = 33" in Pow2(sigma=1, k=2, a=33).problems(64)[0]
    taken = [not Exp2(sigma=1, k=1, j=j).problems(64) for j in (63.5, 63.505, 64)]
    assert taken == [True, False, False], "radii need (d - j)/k from 1/2 on"
    with pytest.raises(ValueError, match="above 66"):
        PowInf(sigma=1, a=66).sample((1, 8, 8), Key(torch.tensor([0]), torch.tensor([0]), seed=0, stream=1))
    with pytest.raises(ValueError, match="dim: radii under uniform noise depend"):
        radius(Uniform(sigma=1), "linf", 0.9)
    for cls, fields in ((Pareto, {"a": 2}), (ExponentialPower, {"p": 0}), (Uniform, {}), (Exp1, {"k": -1})):
        with pytest.raises(ValidationError):
            cls(**{"sigma": 1, **fields} if fields else {"sigma": 0})


RANGES = [  # kind, setting, its default, the ends of what it takes, what it refuses
    *((kind, "k", default, [0.1, 100], [0.0999, 100.1]) for kind, default in (("exp1", 2), ("exp2", 1), ("pow2", 2))),
    ("exp_inf", "k", 10, [0.1, 100], [0.0999, 100.1]),
    *((kind, "j", 0, [0], [-1e-9]) for kind in ("exp2", "exp_inf")),
    ("pow2", "a", None, [0.5, 1e9], [0, 1.1e9]),
    ("pow_inf", "a", None, [3.001, 1e9], [3, 1.1e9]),
    ("pareto", "a", None, [2.001, 1e9], [2, 1.1e9]),
    ("expp", "p", None, [0.0101, 100], [0.01, 100.1]),
    ("dssn", "offsets_seed", 0, [0, 2**32 - 1], [-1, 2**32]),
    *((kind, "sigma", None, [0.5], [0, math.inf, math.nan]) for kind in kinds_with_radii()),
]


@pytest.mark.parametrize("kind, setting, default, taken, refused", RANGES)
def test_settings_have_their_ranges_and_defaults(kind, setting, default, taken, refused):
    cls = spec_class("noise", kind)
    assert cls.model_fields[setting].get_default() == default or default is None
    for value in taken:
        assert getattr(cls(**{**cls.example, setting: value}), setting) == value
    for value in refused:
        with pytest.raises(ValidationError, match=setting):
            cls(**{**cls.example, setting: value})


@pytest.mark.parametrize(
    "law",
    [
        *(cls(sigma=0.5, k=0.1) for cls in (Exp1, Exp2, ExpInf)),
        *(cls(sigma=0.5, a=1e9) for cls in (Pareto, Pow2, PowInf)),
        ExponentialPower(sigma=0.5, p=0.0101),
    ],
    ids=str,
)
def test_at_the_ends_of_its_settings_a_law_still_has_numbers(law):
    """In as many coordinates as ImageNet has: scale, copies, and radii but those of level sets, which take seconds."""
    shape = (3, 224, 224)
    dim = math.prod(shape)
    key = Key(torch.arange(8), torch.zeros(8, dtype=torch.int64), seed=SEED, stream=1)
    drawn = law.sample(shape, key).double()
    assert 0 < law.scale(dim) < math.inf and drawn.isfinite().all() and (drawn != 0).any()
    for norm in norms_of(law.kind):
        found = None if norm == "l2" else radius(law, norm, np.array([0.6, 0.9]), dim)
        assert found is None or 0 < found[0] < found[1] < math.inf


def test_other_families_have_hardly_larger_radii_than_the_three_to_choose_from():
    """As docs/noise.md says."""
    p = np.append(np.linspace(0.501, 0.999, 250), 0.9535)
    three = [radius(cls(sigma=1), norm, p) for cls, norm in ((Uniform, "l1"), (Gaussian, "l2"), (Laplace, "l1"))]
    beside = [radius(ExponentialPower(sigma=1, p=power), "l1", p) / np.max(three, axis=0) for power in (1.2, 1.4, 3)]
    assert 1.009 < np.max(beside) < 1.01
    p = 1 - np.array([0.4, 0.1, 0.01, 1e-7])
    for dim, most in ((64, 0.05), (784, 0.004)):
        for law in (Exp2(sigma=1, k=1), Pow2(sigma=1, k=2, a=dim)):
            more = radius(law, "l2", p, dim) / radius(Gaussian(sigma=1), "l2", p) - 1
            assert more.argmax() == 3 and most / 2 < more[-1] < most


def test_who_needs_other_noise_is_told_which_kinds_would_do():
    law = Gaussian(sigma=1)
    assert law.lacks({"additive", "differentiable"}) == []
    assert law.lacks({"levelwise"}) == ["needs noise that is levelwise; noise of kind gaussian is not (known: dssn)"]


@pytest.mark.parametrize(
    "base, ask",
    [
        (NoiseSpec, lambda law: law.copies(torch.zeros(1, 2), None)),
        (AdditiveNoise, lambda law: law.sample((1, 1, 2), None)),
        (Scaled, lambda law: law.scale(2)),
        (Independent, lambda law: law.values(None)),
        (Radial, lambda law: law.log_length(2, None)),
        (Splitting, lambda law: law.pieces(None, None)),
    ],
)
def test_a_law_that_does_not_say_what_it_is_is_not_taken_for_one(base, ask):
    bare = type("Bare", (base,), {"__annotations__": {"kind": str}, "kind": "bare"})
    with pytest.raises(NotImplementedError):
        ask(bare(sigma=1))


def test_a_radius_may_be_known_for_some_settings_alone():
    law = ExpInf(sigma=1, k=10, j=100)
    assert "linf" in norms_of("exp_inf") and problem(ExpInf(sigma=1), "linf") is None
    assert "use j=0" in problem(law, "linf")
    with pytest.raises(ValueError, match="use j=0"):
        shift_of(law, "linf")
    assert problems(Exp2(sigma=1), "l2") == []
    assert "no l2 radius from two bounds is known for noise of kind exp2" in problems(Exp2(sigma=1), "l2", two=True)[0]
    assert problem(law, "l1") is None and "uniform (l1, linf)" in problem(law, "l2")


@pytest.mark.parametrize("kind", [kind for kind in kinds_with_radii() if kind != "gaussian"])
def test_the_failure_of_a_radius_certifies_it_to_the_last_bit(kind):
    """Whoever asks which failure certifies a radius gets no less back. (Gaussian noise has Cohen's formula for it.)"""
    noise, generator = spec_class("noise", kind).small(), np.random.default_rng(1)
    share = np.concatenate([generator.uniform(0, 1, 200), 10.0 ** -generator.uniform(0, 15, 200)])
    for shift in norms_of(kind).values():
        radii = shift.radius(np.array([1e-9]), noise, 64)[0] * share
        assert (shift.radius(shift.failure(radii, noise, 64), noise, 64) >= radii).all()
        assert shift.failure(np.array([0.0, 1e9]), noise, 64).tolist() == [0.5, 0.0], (
            "none certifies what is out of reach"
        )


@pytest.mark.parametrize(
    "law, norm",
    [(ExponentialPower(sigma=0.5, p=0.5), "l1"), (Exp2(sigma=0.5, k=1.0), "l2"), (Laplace(sigma=0.5), "linf")],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_largest_radius_is_certified_by_the_largest_failure_that_has_it(law, norm):
    """Where a table ends radii are the same for all smaller failures."""
    shift = shift_of(law, norm)
    end = shift.radius(np.zeros(1), law, 64)
    if np.isfinite(end):
        (failure,) = shift.failure(end, law, 64)
        assert shift.radius(np.array([failure]), law, 64) == end > shift.radius(np.array([failure * 1.0001]), law, 64)


@pytest.mark.parametrize(
    ("law", "profile"),
    [
        (Exp2(sigma=0.5, k=1.0), lambda law: Exponential(64, law.k, 0.5 / law.scale(64), law.j)),
        (Pow2(sigma=0.5, k=2.0, a=60.0), lambda law: Power(64, law.k, 0.5 / law.scale(64), law.a)),
    ],
    ids=["exp2", "pow2"],
)
def test_radii_of_tabulated_laws_are_cut_by_the_share_that_rounding_may_cost(law, profile):
    failure = np.array([1e-6, 0.01, 0.2, 0.4])
    found, table = shift_of(law, "l2").radius(failure, law, 64), profile_table(profile(law)).radius(failure)
    np.testing.assert_allclose(1 - found / (0.5 * table), RADIUS_GUARD, rtol=1e-3)


def test_what_a_coarse_spline_errs_is_given_away():
    """Where every other knot does not do, all of them are not trusted either: radii are given away by as much."""

    class Coarse(ProfileTable):
        knots = 50

    law = Exp2(sigma=1.0, k=1.0)
    profile = Exponential(64, 1.0, 1 / law.scale(64), 0.0)
    failure = special.ndtr(-np.linspace(0.05, 4, 500))
    coarse, fine = Coarse(profile), profile_table(profile)
    found, wanted = coarse.radius(failure), fine.radius(failure)
    assert (found <= wanted + GUARD).all() and coarse.guard > 100 * GUARD
    np.testing.assert_allclose(found, wanted - coarse.guard, atol=0.1 * coarse.guard)


@pytest.mark.parametrize("form", [by_flow, by_overlap])
@pytest.mark.parametrize("error", [1e-3, lambda noise, dim: 1e-3], ids=["constant", "of the law"])
def test_the_error_of_a_table_is_given_away_whole_by_one_bound_and_by_two(form, error):
    law = Gaussian(sigma=1.0)
    plain, careful = form(_share_below_half), form(_share_below_half, error=error)
    failure, other = np.array([0.1, 0.2, 0.4, 0.45]), np.array([0.05, 0.3, 0.59, 0.5499])
    for given, found in (
        (plain.radius(failure, law, 12), careful.radius(failure, law, 12)),
        (plain.two(failure, other, law, 12), careful.two(failure, other, law, 12)),
    ):
        assert (given > 0).all()
        np.testing.assert_allclose(found, np.maximum(given - 1e-3, 0.0), rtol=1e-12, atol=1e-15)


def test_no_radius_is_left_where_other_classes_may_have_all_that_the_class_has():
    """Not even where it is never missed: infinitely far ahead of others that are infinitely far ahead."""
    law, log = Gaussian(sigma=1.0), by_flow(lambda p, noise, dim: -np.log(2 * np.asarray(p)))
    with np.errstate(divide="ignore"):
        assert log.two(np.array([0.0, 0.3, 0.5, 1.0]), np.array([1.0, 0.7, 0.5, 0.0]), law, 12).tolist() == [0, 0, 0, 0]


def _share_below_half(p, noise, dim):
    return 2.0 * (0.5 - np.asarray(p))


def test_radii_from_two_bounds_are_rounded_down_where_the_bounds_nearly_meet():
    """The difference of two numbers that nearly agree keeps few digits: none of what it loses may be claimed."""
    failure = np.random.default_rng(4).uniform(0.05, 0.95, 2000)
    other = 1 - failure - 10.0 ** np.random.default_rng(5).uniform(-15, -4, 2000)
    failure, other = failure[other > 0], other[other > 0]
    gaussian, uniform, ssn = Gaussian(sigma=0.5), Uniform(sigma=0.5), IndependentSplitting(sigma=0.5)
    with mpmath.workdps(40):
        room = [1 - mpmath.mpf(f) - mpmath.mpf(o) for f, o in zip(failure, other, strict=True)]
        linear = {  # law → a length that is not above its λ, or not above half its width
            uniform: mpmath.mpf(uniform.scale(1)),
            ssn: mpmath.mpf(ssn.width) / 2,
        }
        for law, length in linear.items():
            found = shift_of(law, "l1").two(failure, other, law, 12)
            assert all(r <= length * most for r, most in zip(found, room, strict=True)) and (found > 0).mean() > 0.9
        found = shift_of(gaussian, "l2").two(failure, other, gaussian, None)
        true = [
            mpmath.sqrt(2) / 4 * (mpmath.erfinv(1 - 2 * mpmath.mpf(f)) + mpmath.erfinv(1 - 2 * mpmath.mpf(o)))
            for f, o in zip(failure, other, strict=True)
        ]
    assert all(r <= most for r, most in zip(found, true, strict=True)) and (found > 0).mean() > 0.7


def test_radii_of_splitting_noise_in_linf_are_rounded_down_near_one_half():
    noise, failure = IndependentSplitting(sigma=0.5), 0.5 - 10.0 ** np.linspace(-15, -2, 500)
    found = shift_of(noise, "linf").radius(failure, noise, 784)
    with mpmath.workdps(40):
        half, width = mpmath.mpf(1) / 2, mpmath.mpf(noise.width)
        true = [width * (1 - (half + mpmath.mpf(f)) ** (mpmath.mpf(1) / 784)) for f in failure]
    assert all(r <= most for r, most in zip(found, true, strict=True)) and (found > 0).all()
