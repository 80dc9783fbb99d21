"""What every law of noise promises the engine and the certificates: one set of tests for all registered kinds.

Each statistical test rejects a law that keeps its promise with a probability of about 1e-6; draws are the same in every run.
"""

import math

import numpy as np
import pytest
import torch
from catalogue import DIM, SHAPE, small
from scipy import stats

from certflow.kinds.registry import kinds
from certflow.noise.base import Key
from certflow.noise.radii import norms_of

KINDS = kinds("noise")
ROWS, LEVEL, Z = 20_000, 1e-6, 5.5
FAILURES = np.array([1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.49, 0.5, 0.8, 1.0])


def drawn(law, rows=ROWS, seed=7, stream=1, method="sample", shape=SHAPE):
    """Draws 0, 1, … of five images in turn: [rows, *shape]."""
    number = torch.arange(rows)
    return getattr(law, method)(shape, Key(number % 5, number, seed=seed, stream=stream))


def flat(tensor) -> np.ndarray:
    """float64 [rows, coordinates]."""
    return tensor.flatten(1).double().numpy()


def ways(law) -> list[str]:
    """The functions that draw from a law: `steps` too where it has an exact form."""
    return ["sample"] if law.exact_problems() else ["sample", "steps"]


@pytest.fixture(params=KINDS)
def law(request):
    found = small("noise", request.param)
    problems = found.problems(DIM)
    assert not problems, f"its example must suit images of {DIM} coordinates: {problems}"
    return found


def test_rows_have_the_shape_and_the_type_that_the_engine_takes(law):
    for shape in (SHAPE, (3, 4, 6)):
        found = drawn(law, rows=6, shape=shape)
        assert found.shape == (6, *shape) and found.dtype == torch.float32 and bool(found.isfinite().all())
    if "steps" in ways(law):
        assert drawn(law, rows=6, method="steps").dtype == torch.int16


def test_a_row_depends_on_its_own_counters_alone(law):
    """Not on which rows are drawn with it, in which order, and the counters are left as they are."""
    image, draw = torch.tensor([3, 0, 3, 2**32 - 1, 7, 0]), torch.tensor([0, 5, 1, 9, 2**32 - 1, 0])
    kept = image.clone(), draw.clone()
    for method in ways(law):
        draws = getattr(law, method)
        whole = draws(SHAPE, Key(image, draw, seed=3, stream=2))
        assert torch.equal(draws(SHAPE, Key(image, draw, seed=3, stream=2)), whole)
        assert torch.equal(draws(SHAPE, Key(image.flip(0), draw.flip(0), seed=3, stream=2)), whole.flip(0))
        for row in range(len(image)):
            one = slice(row, row + 1)
            assert torch.equal(draws(SHAPE, Key(image[one], draw[one], seed=3, stream=2))[0], whole[row])
    assert torch.equal(image, kept[0]) and torch.equal(draw, kept[1])


def test_seed_stream_image_and_draw_all_count(law):
    if law.sigma == 0:
        return
    for method in ways(law):
        rows = [
            getattr(law, method)(SHAPE, Key(torch.tensor([i]), torch.tensor([j]), seed=seed, stream=stream))
            for i in (0, 1)
            for j in (0, 1)
            for seed in (0, 2**63)
            for stream in (0, 1)
        ]
        assert len({row.numpy().tobytes() for row in rows}) == len(rows)


def test_mean_and_scale_are_as_stated(law):
    """Every coordinate has mean 0; the mean square of a coordinate is sigma². Exact draws, in grey levels, too."""
    for method in ways(law):
        values = flat(drawn(law, method=method)) / (255 if method == "steps" else 1)
        error = values.std(axis=0) / math.sqrt(ROWS)
        assert (np.abs(values.mean(axis=0)) <= Z * error).all()
        squares = (values**2).mean(axis=1)
        rounding = 1 / (12 * 255**2) if method == "steps" else 0.0
        away = abs(squares.mean() - law.sigma**2 - rounding)
        assert away <= Z * squares.std() / math.sqrt(ROWS) + 1e-6 * law.sigma**2


def test_either_side_of_a_plane_through_the_image_is_as_likely(law):
    """The radii of all certificates are measured from the plane where the classes are equally likely."""
    if law.sigma == 0:
        return
    values = flat(drawn(law))
    for direction in (np.eye(DIM)[0], np.ones(DIM), np.where(np.arange(DIM) % 3, 1, -2)):
        side = values @ direction
        assert stats.binomtest(int((side > 0).sum()), int((side != 0).sum())).pvalue > LEVEL


def test_neighbouring_draws_images_and_coordinates_are_uncorrelated(law):
    if law.sigma == 0:
        return
    values = flat(drawn(law))
    for first, second in (
        (values[:-1, 0], values[1:, 0]),  # the next image
        (values[:-5, 0], values[5:, 0]),  # the next draw of the same image
        (values[:, 0], values[:, 1]),
        (values[:, 5], flat(drawn(law, stream=2))[:, 5]),
    ):
        assert stats.pearsonr(first, second).pvalue > LEVEL


def test_the_exponent_is_that_of_its_law(law):
    """A generalised Gaussian law has ‖ε‖²/(2s²) ~ Gamma(d/2 - k), s² = sigma² d/(d - 2k), and a uniform direction."""
    if law.exponent is None:
        return
    values, k = flat(drawn(law)), law.exponent
    t = (values**2).sum(axis=1) * (1 - 2 * k / DIM) / (2 * law.sigma**2)
    a = DIM / 2 - k
    assert stats.kstest(t, stats.gamma(a).cdf).pvalue > LEVEL
    assert abs(t.var() - a) <= Z * math.sqrt((2 * a**2 + 6 * a) / ROWS)  # by the fourth moment of the Gamma law
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    uniform = stats.beta((DIM - 1) / 2, (DIM - 1) / 2).cdf
    for direction in (np.eye(DIM)[-1], np.full(DIM, DIM**-0.5)):
        assert stats.kstest((1 + unit @ direction) / 2, uniform).pvalue > LEVEL


def test_the_exact_form_is_the_law_rounded_to_grey_levels(law):
    """Frequencies of levels among exact draws and among rounded ordinary ones, by a two-sample chi-square test."""
    if law.exact_problems():
        with pytest.raises(ValueError, match="exact"):
            drawn(law, rows=1, method="steps")
        with pytest.raises(ValueError, match="exact"):
            law.distance(DIM)
        return
    exact = drawn(law, method="steps").flatten().long().numpy()
    rounded = np.rint(255.0 * flat(drawn(law, stream=2))).astype(np.int64).ravel()
    edges = np.unique(np.quantile(rounded, np.linspace(0, 1, 200)[1:-1]))
    table = np.array([np.bincount(np.searchsorted(edges, v), minlength=len(edges) + 1) for v in (exact, rounded)])
    assert stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue > LEVEL
    apart = [law.distance(d) for d in (1, 64, 3072)]
    assert apart == sorted(apart) and apart[0] >= 0 and apart[-1] < 1e-3


def test_a_warm_up_ends_in_the_law_itself(law):
    assert law.warmed(11, 10) == law and law.warmed(3, 0) == law
    assert law.warms_up or law.warmed(3, 10) == law
    assert not law.warmed(3, 10).problems(DIM)


@pytest.mark.parametrize(("kind", "norm"), [(kind, norm) for kind in KINDS for norm in norms_of(kind)])
def test_radii_fall_with_the_failure_and_scale_with_sigma(kind, norm):
    noise, shift = small("noise", kind), norms_of(kind)[norm]
    radius = shift.radius(FAILURES, noise, DIM)
    assert (np.diff(radius) <= 0).all() and radius[0] > 0 and np.isfinite(radius).all()
    assert (radius[FAILURES >= 0.5] == 0).all() and (radius[FAILURES < 0.49] > 0).all()
    double = noise.model_copy(update={"sigma": 2 * noise.sigma})
    np.testing.assert_allclose(shift.radius(FAILURES, double, DIM), 2 * radius, rtol=1e-9)


@pytest.mark.parametrize(("kind", "norm"), [(kind, norm) for kind in KINDS for norm in norms_of(kind)])
def test_the_failure_of_a_radius_certifies_it(kind, norm):
    noise, shift = small("noise", kind), norms_of(kind)[norm]
    radii = shift.radius(np.array([1e-3, 0.01, 0.1, 0.3]), noise, DIM)
    failure = shift.failure(radii, noise, DIM)
    assert ((failure > 0) & (failure < 0.5)).all()
    assert (shift.radius(failure, noise, DIM) >= radii * (1 - 1e-9)).all()
    assert (shift.radius(failure * 1.01, noise, DIM) < radii).all()
    if shift.two is not None:
        other = np.array([0.3, 0.2, 0.1, 0.01])
        rising = shift.two(np.full(4, 0.4), other, noise, DIM)
        assert (np.diff(rising) > 0).all() and shift.two(np.array([0.4]), np.array([0.6]), noise, DIM)[0] == 0
