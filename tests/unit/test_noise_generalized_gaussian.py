"""Generalised Gaussian noise: its counters, its quantiles, its bits, what it refuses."""

import math

import mpmath
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special

from certflow.noise import ExponentialPower, GeneralizedGaussian, directions, noise, philox
from certflow.noise.base import Key
from certflow.noise.fast import native
from certflow.noise.gamma import coefficients, log_quantiles
from certflow.noise.truncated import Truncated

mpmath.mp.dps = 40
SEED = 0x0123456789ABCDEF
SHAPE = (1, 8, 8)
K = 28
"""Leaves a Gamma law of shape 4 in 64 dimensions."""


def counters(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(rows) % 3, torch.arange(rows) * 7


def drawn(law, rows=6, shape=SHAPE, **options):
    return law.sample(shape, Key(*counters(rows), seed=SEED, stream=1, **options))


def test_wide_uniforms_are_the_upper_52_bits_of_the_last_group():
    image, draw = torch.tensor([0, 7, 2**32 - 1]), torch.tensor([2**32 - 1, 3, 0])
    found = philox.wide_uniforms(Key(image, draw, seed=SEED, stream=3))
    assert found.dtype == torch.float64
    group = torch.full((3,), 2**32 - 1)
    words = philox.philox((group, draw, image, torch.full((3,), 3)), (SEED & 0xFFFFFFFF, SEED >> 32))
    for u, high, low in zip(found.tolist(), words[0].tolist(), words[1].tolist(), strict=True):
        assert u == ((high << 32 | low) >> 12) * 2.0**-52 + 2.0**-53
        assert 0 < u < 1


def test_wide_uniforms_are_the_same_in_c_and_torch(monkeypatch):
    if not native.available():
        pytest.skip("no C compiler")
    image, draw = torch.arange(4000) * 1_000_003, torch.arange(4000).flip(0)
    fast = philox.wide_uniforms(Key(image, draw, seed=SEED, stream=20))
    monkeypatch.setattr(native, "_library", lambda: None)
    assert torch.equal(philox.wide_uniforms(Key(image, draw, seed=SEED, stream=20)), fast)


@pytest.mark.parametrize("shape", [1, 2, 4, 12, 26, 392, 75_264])
def test_quantiles_agree_with_scipy_everywhere(shape):
    z = np.random.default_rng(shape).uniform(-9.5, 8.2, 20_000)
    v = special.ndtr(z)
    found = log_quantiles(shape, torch.from_numpy(v)).numpy()
    exact = np.log(np.where(v < 0.5, special.gammaincinv(shape, v), special.gammainccinv(shape, 1 - v)))
    assert np.abs(found - exact).max() < 2e-13


def test_quantiles_have_their_ends():
    """The end panels' polynomials serve beyond the table; shapes from 1/100 on are those of all laws with powers up to 100."""
    (beyond,) = log_quantiles(12, torch.tensor([1e-23], dtype=torch.float64)).tolist()
    assert beyond == pytest.approx(math.log(special.gammaincinv(12, 1e-23)), abs=1e-6)
    assert np.isfinite(coefficients(0.01)).all()
    with pytest.raises(ValueError, match="shape must be at least 0.01, got 0.0099"):
        coefficients(0.0099)


@pytest.mark.parametrize("shape", [1, 4, 12, 392])
def test_quantiles_agree_with_forty_digits(shape):
    v = np.array([2.0**-53, 1e-9, 0.01, 0.5, 0.937, 1 - 1e-9, 1 - 2.0**-52])
    for u, log_t in zip(v, log_quantiles(shape, torch.from_numpy(v)).tolist(), strict=True):
        t = mpmath.exp(log_t)
        lower, upper = mpmath.gammainc(shape, 0, t, regularized=True), mpmath.gammainc(shape, t, regularized=True)
        missed = lower - u if u < 0.5 else (1 - mpmath.mpf(float(u))) - upper
        density = t ** (shape - 1) * mpmath.exp(-t) / mpmath.gamma(shape)
        assert abs(missed / (density * t)) < 1e-12  # the relative error of t


def test_a_row_is_scale_times_gamma_length_times_direction():
    law = GeneralizedGaussian(k=K, sigma=0.5)
    values = drawn(law).flatten(1).double()
    u = philox.wide_uniforms(Key(*counters(6), seed=SEED, stream=1)).numpy()
    normals = philox.normals(64, Key(*counters(6), seed=SEED, stream=1)).double()
    length = 0.5 * math.sqrt(64 / (64 - 2 * K)) * np.sqrt(2 * special.gammaincinv(64 / 2 - K, u))
    expected = normals / normals.norm(dim=1, keepdim=True) * torch.from_numpy(length)[:, None]
    assert torch.allclose(values, expected, rtol=1e-6, atol=0)


GOLDEN = [  # from Philox, Box and Muller's transform and the Gamma quantile in plain Python, float64
    ((1, 28, 28), 380, (0, 0, 1), (0.362258926, -0.687231406, -0.218481211, -0.703917451)),
    ((3, 32, 32), 1530, (7, 3, 3), (0.980620629, 0.436193229, -0.301112017, -0.223790960)),
]


@pytest.mark.parametrize(("shape", "k", "counter", "golden"), GOLDEN)
def test_golden_values(shape, k, counter, golden):
    image, draw, stream = counter
    law = GeneralizedGaussian(k=k, sigma=0.5)
    values = law.sample(shape, Key(torch.tensor([image]), torch.tensor([draw]), seed=SEED, stream=stream)).flatten()
    at = [values[e].item() for e in (0, 1, len(values) // 2, -1)]
    assert at == pytest.approx(golden, abs=2e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 3, 2), (3, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("k", [0, 2])
def test_a_row_depends_on_its_own_counters_only(shape, k):
    law = GeneralizedGaussian(k=k, sigma=0.25)
    image, draw = counters(23)
    whole = law.sample(shape, Key(image, draw, seed=SEED, stream=1))
    assert whole.shape == (23, *shape) and whole.dtype == torch.float32
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    assert torch.equal(law.sample(shape, Key(image[order], draw[order], seed=SEED, stream=1)), whole[order])
    for row in (0, 11):
        alone = law.sample(shape, Key(image[row : row + 1], draw[row : row + 1], seed=SEED, stream=1))
        assert torch.equal(alone[0], whole[row])


def test_bits_do_not_depend_on_threads():
    law, threads = GeneralizedGaussian(k=5, sigma=1.0), torch.get_num_threads()
    whole = drawn(law, 5, (3, 64, 64))
    try:
        torch.set_num_threads(3)
        assert torch.equal(drawn(law, 5, (3, 64, 64)), whole)
        assert torch.equal(drawn(law, 1, (3, 64, 64)), whole[:1])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dim", [2, 784, 3072, 150_528])
def test_both_ways_of_taking_norms_are_exact_to_float32(dim):
    values = philox.normals(dim, Key(*counters(3), seed=SEED, stream=1))
    exact = values.double().norm(dim=1)
    assert torch.allclose(directions._serial_norms(values), exact, rtol=5e-7, atol=0)
    assert torch.allclose(directions._fixed_point_norms(values), exact, rtol=1e-7, atol=0)


def test_the_whole_mass_truncates_nothing():
    everything = torch.ones(6, dtype=torch.float64)
    whole = drawn(GeneralizedGaussian(k=K, sigma=0.5))
    assert torch.equal(drawn(Truncated(k=K, sigma=0.5), parameter=everything), whole)


def test_truncated_draws_lie_within_their_own_radius():
    rows, percentile = 3000, torch.tensor([0.05, 0.5, 0.98], dtype=torch.float64).repeat(1000)
    values = drawn(Truncated(k=K, sigma=0.5), rows, parameter=percentile)
    radius = 0.5 * math.sqrt(64 / (64 - 2 * K)) * np.sqrt(2 * special.gammaincinv(4, percentile.numpy()))
    reached = values.flatten(1).norm(dim=1).numpy() / radius
    assert reached.max() < 1 + 1e-6
    for number in range(3):
        assert reached[number::3].max() > 0.99  # it comes close: the radius is not too small either


def test_truncated_noise_needs_its_percentiles():
    with pytest.raises(ValueError, match="percentile"):
        drawn(Truncated(k=K, sigma=0.5))


def test_impossible_exponents_are_refused():
    assert GeneralizedGaussian(k=31, sigma=1).problems(64) == []
    assert "at most k=31" in GeneralizedGaussian(k=32, sigma=1).problems(64)[0]
    assert "even" in GeneralizedGaussian(k=0, sigma=1).problems(75)[0]
    assert GeneralizedGaussian(k=0, sigma=1).gamma_shape(75) == 37.5  # for the second law of plain Gaussian noise
    for k, dim in ((1, 75), (0, 1)):
        with pytest.raises(ValueError, match="even"):
            GeneralizedGaussian(k=k, sigma=1).gamma_shape(dim)
    assert "at most k=31" in Truncated(k=32, sigma=1).problems(64)[0]
    with pytest.raises(ValueError, match="at most k=31"):
        drawn(GeneralizedGaussian(k=32, sigma=1))
    for fields in ({"k": -1, "sigma": 1}, {"k": 1.5, "sigma": 1}, {"k": 1, "sigma": 0}, {"sigma": 1}):
        with pytest.raises(ValidationError):
            GeneralizedGaussian(**fields)


def test_the_kind_is_found_by_name():
    law = noise("generalized_gaussian", k=380, sigma=0.5)
    assert law == GeneralizedGaussian(k=380, sigma=0.5)
    assert law.scale(784) / 0.5 == pytest.approx(5.715476, abs=1e-6)
    assert law.gamma_shape(784) == 12


@pytest.mark.slow
@pytest.mark.parametrize("law", [Truncated(k=K, sigma=0.5), ExponentialPower(sigma=0.5, p=4)], ids=lambda law: law.kind)
def test_the_compiler_can_follow_every_line(law):
    """On a GPU noise is compiled: neither a table of quantiles nor anything else may break the graph."""

    def sample(image, draw, percentile):
        return law.sample(SHAPE, Key(image, draw, seed=SEED, stream=3, parameter=percentile))

    arguments = (*counters(9), torch.linspace(0.1, 1, 9, dtype=torch.float64))
    found = torch.compile(sample, dynamic=False, fullgraph=True, backend="eager")(*arguments)
    assert torch.allclose(found, sample(*arguments), rtol=1e-5, atol=1e-6)
