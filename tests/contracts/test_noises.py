"""What every law of noise promises the engine and the certificates: one set of tests for all registered kinds.

Each statistical test rejects a law that keeps its promise with a probability of about 1e-6; draws are the same in every run.
"""

import math

import numpy as np
import pytest
import torch
from catalogue import DIM, SHAPE, small
from scipy import stats

from certflow.kinds.registry import kinds, spec_class
from certflow.noise.base import AdditiveNoise, Key
from certflow.noise.pieces import from_parts
from certflow.noise.radii import norms_of

KINDS = kinds("noise")
ADDITIVE = [kind for kind in KINDS if issubclass(spec_class("noise", kind), AdditiveNoise)]
ROWS, LEVEL, Z = 20_000, 1e-6, 5.5
FAILURES = np.array([1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.49, 0.5, 0.8, 1.0])


def drawn(law, rows=ROWS, seed=7, stream=1, method="sample", shape=SHAPE):
    """Draws 0, 1, … of five images in turn: [rows, *shape]."""
    number = torch.arange(rows)
    return way(law, method)(shape, Key(number % 5, number, seed=seed, stream=stream))


def way(law, method):
    """The function of that name that draws from a law, as one of (shape, key); copies are of the same image in all rows."""
    if method not in ("copies", "pieces"):
        return getattr(law, method)

    def copies(shape, key):
        levels = torch.arange(math.prod(shape)).mul(37).remainder(256).view(shape)
        held = (
            levels.to(torch.int16)
            if method == "pieces"
            else (levels.float() / 255).expand(len(key.image), *shape).clone()
        )
        return getattr(law, method)(held, key)

    return copies


def flat(tensor) -> np.ndarray:
    """float64 [rows, coordinates]."""
    return tensor.flatten(1).double().numpy()


def ways(law) -> list[str]:
    """The functions that draw from a law: that of exact arithmetic too where there is one."""
    both = ["sample", "steps"] if isinstance(law, AdditiveNoise) else ["copies", "pieces"]
    return both[:1] if law.exact_problems() else both


def checked(kind):
    found = small("noise", kind)
    problems = found.problems(DIM)
    assert not problems, f"its example must suit images of {DIM} coordinates: {problems}"
    return found


@pytest.fixture(params=KINDS)
def any_law(request):
    return checked(request.param)


@pytest.fixture(params=ADDITIVE)
def law(request):
    return checked(request.param)


def test_rows_have_the_shape_and_the_type_that_the_engine_takes(any_law):
    for shape in (SHAPE, (3, 4, 6)):
        for method in ways(any_law):
            found = drawn(any_law, rows=6, shape=shape, method=method)
            assert found.shape == (6, *shape) and bool(found.isfinite().all())
            assert found.dtype == (torch.int16 if method in ("steps", "pieces") else torch.float32)


def test_a_row_depends_on_its_own_counters_alone(any_law):
    """Not on which rows are drawn with it, in which order, and the counters are left as they are."""
    image, draw = torch.tensor([3, 0, 3, 2**32 - 1, 7, 0]), torch.tensor([0, 5, 1, 9, 2**32 - 1, 0])
    kept = image.clone(), draw.clone()
    for method in ways(any_law):
        draws = way(any_law, method)
        whole = draws(SHAPE, Key(image, draw, seed=3, stream=2))
        assert torch.equal(draws(SHAPE, Key(image, draw, seed=3, stream=2)), whole)
        assert torch.equal(draws(SHAPE, Key(image.flip(0), draw.flip(0), seed=3, stream=2)), whole.flip(0))
        for row in range(len(image)):
            one = slice(row, row + 1)
            assert torch.equal(draws(SHAPE, Key(image[one], draw[one], seed=3, stream=2))[0], whole[row])
    assert torch.equal(image, kept[0]) and torch.equal(draw, kept[1])


def test_draws_do_not_depend_on_what_torch_makes_by_default(any_law):
    """Users who work in float64 say so once, for all of torch."""
    wanted, kept = [drawn(any_law, rows=3, method=method) for method in ways(any_law)], torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        found = [drawn(any_law, rows=3, method=method) for method in ways(any_law)]
    finally:
        torch.set_default_dtype(kept)
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_seed_stream_image_and_draw_all_count(any_law):
    if any_law.sigma == 0:
        return
    for method in ways(any_law):
        rows = [  # four draws each, as a law with few outcomes may give the same in one
            way(any_law, method)(SHAPE, Key(torch.full((4,), i), j + 2 * torch.arange(4), seed=seed, stream=stream))
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


def test_a_warm_up_ends_in_the_law_itself(any_law):
    law = any_law
    assert law.warmed(11, 10) == law and law.warmed(3, 0) == law
    assert law.warms_up or law.warmed(3, 10) == law
    assert not law.warmed(3, 10).problems(DIM)


def test_copies_are_the_images_with_the_noise_or_what_is_offered_is_not_additive(any_law):
    assert ("additive" in any_law.offers) == isinstance(any_law, AdditiveNoise)
    x, key = torch.rand(6, *SHAPE), Key(torch.arange(6), torch.arange(6), seed=7, stream=1)
    kept = x.clone()
    copies = any_law.copies(x, key)
    assert torch.equal(x, kept) and copies.shape == x.shape and copies.dtype == torch.float32
    if "additive" in any_law.offers:
        assert torch.equal(copies, x + any_law.sample(SHAPE, key))


def test_it_says_how_it_is_drawn_and_what_it_records(any_law):
    for exact in (False, True):
        said = any_law.says(exact)
        assert said and said == said.strip() and not said.endswith(".")
    assert isinstance(any_law.describe(DIM), dict) and any_law.drawn_exactly().kind == any_law.kind


def test_outcomes_are_what_is_drawn_each_as_often(any_law):
    """Where outcomes can be enumerated: all are different, and draws of one image are outcomes, in equal shares."""
    levels = torch.arange(DIM).mul(37).remainder(256).view(SHAPE).to(torch.int16)
    if any_law.outcomes is None:
        with pytest.raises(ValueError, match="no outcomes"):
            any_law.outcome(levels, torch.zeros(1, dtype=torch.int64))
        return
    every = any_law.outcome(levels, torch.arange(any_law.outcomes)).flatten(1)
    numbers = {row.numpy().tobytes(): number for number, row in enumerate(every)}
    assert len(numbers) == any_law.outcomes and bool((from_parts(every) <= 1).all()) and bool((every >= 0).all())
    found = [numbers[row.numpy().tobytes()] for row in drawn(any_law, method="pieces").flatten(1)]
    assert stats.chisquare(np.bincount(found, minlength=any_law.outcomes)).pvalue > LEVEL


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
    assert (shift.radius(failure, noise, DIM) >= radii * (1 - 1.1e-12)).all()
    assert (shift.radius(failure * 1.01, noise, DIM) < radii).all()
    assert shift.failure(np.array([0.0, 1e6]), noise, DIM).tolist() == [0.5, 0.0], "nothing is asked, or too much"
    if shift.two is not None:
        other = np.array([0.3, 0.2, 0.1, 0.01])
        rising = shift.two(np.full(4, 0.4), other, noise, DIM)
        assert (np.diff(rising) > 0).all() and shift.two(np.array([0.4]), np.array([0.6]), noise, DIM)[0] == 0
        never = np.zeros(1)
        assert shift.two(never, never, noise, DIM)[0] >= shift.radius(never, noise, DIM)[0], (
            "a class that is never missed"
        )
