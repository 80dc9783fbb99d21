"""The percentile bootstrap: its exact resampling law for 0/1 values, determinism, shapes and refusals."""

import numpy as np
import pytest
from scipy import stats

from certflow.stats import bootstrap_interval


def test_follows_the_exact_resampling_law_of_binary_values():
    """A resampled mean of k ones among n is Bin(n, k/n)/n; by Massart's inequality the empirical law of R resamples strays by
    more than eps with probability at most 2 exp(-2 R eps^2) = 1e-6."""
    n, k, resamples = 40, 29, 20_000
    eps = np.sqrt(np.log(2e6) / (2 * resamples))
    for level in (0.5, 0.9, 0.95):
        low, high = bootstrap_interval(np.arange(n) < k, level=level, resamples=resamples, seed=3)
        law = stats.binom(n, k / n)
        for end, q in ((low, (1 - level) / 2), (high, (1 + level) / 2)):
            assert law.ppf(q - eps) / n <= end <= law.ppf(q + eps) / n


def test_width_tends_to_the_normal_interval():
    values = np.random.default_rng(0).gamma(2.0, size=2000)
    low, high = bootstrap_interval(values, resamples=4000)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_columns_share_resamples_and_match_single_columns():
    values = np.random.default_rng(1).random((300, 3))
    low, high = bootstrap_interval(values, resamples=500, seed=7)
    assert low.shape == high.shape == (3,) and (low < values.mean(axis=0)).all() and (values.mean(axis=0) < high).all()
    for column in range(3):
        one = bootstrap_interval(values[:, column], resamples=500, seed=7)
        np.testing.assert_allclose(one, (low[column], high[column]), rtol=1e-13)
    shifted = bootstrap_interval(np.c_[values, values[:, 0] - values[:, 1] + 1], resamples=500, seed=7)
    assert shifted[0][3] > 1 + low[0] - high[1]


def test_deterministic_in_the_seed_alone():
    values = np.random.default_rng(2).random(200)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)


def test_a_seed_stands_for_the_same_resamples_everywhere():
    """Ends that were printed once come back."""
    low, high = bootstrap_interval(np.arange(20.0), level=0.9, resamples=50, seed=3)
    assert (low, high) == pytest.approx((7.4225, 11.0825))


def test_weights_of_32_mebibytes_are_held_at_once(monkeypatch):
    import certflow.stats.bootstrap as module

    asked = []
    monkeypatch.setattr(
        module, "resample_counts", lambda images, rows, _: asked.append(rows) or np.ones((rows, images))
    )
    module._resampled_means(np.zeros((5000, 1)), 2000, np.random.default_rng(0))
    assert asked == [838, 838, 324] and 838 * 5000 * 8 <= 2**25 < 839 * 5000 * 8
    asked.clear()
    module._resampled_means(np.zeros((2**22 + 1, 1)), 2, np.random.default_rng(0))
    assert asked == [1, 1], "or one resample, if that is larger"


def test_constant_and_single_values():
    np.testing.assert_allclose(bootstrap_interval(np.full(50, 0.1)), (0.1, 0.1), rtol=1e-15)
    assert bootstrap_interval([0.3]) == (0.3, 0.3)


def test_chunks_cover_all_resamples(monkeypatch):
    import certflow.stats.bootstrap as module

    monkeypatch.setattr(module, "CHUNK", 50 * 7)
    means = module._resampled_means(np.arange(50.0)[:, None], 100, np.random.default_rng(0))
    weights = module.resample_counts(50, 9, np.random.default_rng(0))
    assert means.shape == (100, 1) and len(np.unique(means)) > 80
    assert (weights.sum(axis=1) == 50).all() and weights.min() >= 0


@pytest.mark.parametrize(
    "values, options, message",
    [
        ([], {}, "at least one image"),
        (np.zeros((2, 2, 2)), {}, "images, columns"),
        ([0.1, np.nan], {}, "finite"),
        ([0.1, 0.2], {"level": 1.0}, "level"),
        ([0.1, 0.2], {"resamples": 0}, "resamples"),
        ([0.1, 0.2], {"resamples": 10**7 + 1}, "from 1 to 10000000"),
    ],
)
def test_refusals(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)
