"""Splitting noise: cuts, middles of pieces, fixed offsets, and the law of what is drawn."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from certflow.noise import DependentSplitting, IndependentSplitting, Key
from certflow.noise.grid import BITS
from certflow.noise.pieces import fixed_offsets, from_parts, middles, offsets, shifted, whole_middles
from certflow.noise.radii import shift_of
from certflow.noise.splitting import LEVELS, MOST_CUTS, thresholds
from certflow.noise.steps import inverted

CUTS = {0.15: 132, 0.25: 220, 0.5: 441, 0.75: 662, 1: 883, 1.25: 1104, 1.5: 1325, 1.75: 1545, 2: 1766, 2.25: 1987}
CUTS |= {2.5: 2208, 2.75: 2429, 3: 2650, 3.25: 2870, 3.5: 3091}
"""sigma → number of shifts, from the paper's experiments."""
OFFSETS = [
    (132, 3072, 0, "47 117 67 103 9 21", 61, 203847, "72a23cbf189eb377"),
    (220, 3072, 0, "172 47 117 192 67 195", 157, 333511, "17b8241e7a1215cb"),
    (441, 3072, 0, "172 47 117 192 323 251", 138, 674994, "fc6127dfe9f45935"),
    (1766, 3072, 0, "684 559 1653 1216 835 763", 103, 2714494, "bc6d257df1b84555"),
    (3091, 3072, 0, "2732 2607 1653 835 763 1731", 1446, 4759826, "3f9ceba3b3f8fd9a"),
    (441, 784, 0, "172 47 117 192 323 251", 439, 176572, "837eac8196d87169"),
    (1766, 784, 0, "684 559 1653 1216 835 763", 1012, 702565, "b83acf8f07a906e5"),
    (441, 150528, 0, "172 47 117 192 323 251", 309, 33157727, "cf70c6830830ecd2"),
    (441, 3072, 1, "37 235 396 72 255 393", 258, 677182, "a673657577480c89"),
]
PARTS_OF = [
    *((132, 0, 0, 1), (132, 1, 0, 266), (132, 255, 0, 775), (132, 255, 131, 773), (132, 131, 131, 263)),
    *((132, 132, 131, 773), (220, 10, 9, 478), (220, 255, 219, 949), (441, 100, 57, 625), (441, 57, 57, 115)),
    *((441, 58, 57, 625), (441, 255, 254, 1019), (441, 255, 255, 510), (441, 0, 440, 510), (441, 0, 0, 1)),
]
"""(L, grey level, level below the cut) → middle of the piece in units of 1/1020, from the published code."""


def sigma_of(cuts: int) -> float:
    """A noise level with so many cuts."""
    return (cuts + 0.25) / (2 * math.sqrt(3) * LEVELS)


def key(rows: int, stream: int = 1, seed: int = 3) -> Key:
    return Key(torch.arange(rows) % 7, torch.arange(rows), seed=seed, stream=stream)


@pytest.mark.parametrize("kind", [IndependentSplitting, DependentSplitting])
def test_cuts_of_the_papers_noise_levels(kind):
    assert {sigma: kind(sigma=sigma).cuts for sigma in CUTS} == CUTS
    assert kind(sigma=0.5).width == pytest.approx(2 * math.sqrt(3) * 0.5)
    assert kind(sigma=441 / 255 / (2 * math.sqrt(3))).cuts == 441  # a whole width does not lose a level to rounding


@pytest.mark.parametrize(("cuts", "dim", "seed", "first", "last", "total", "sha"), OFFSETS)
def test_offsets_are_those_of_the_published_code(cuts, dim, seed, first, last, total, sha):
    found = fixed_offsets(cuts, dim, seed)
    assert found[:6].tolist() == list(map(int, first.split())) and (found[-1], found.sum()) == (last, total)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == sha
    assert offsets(cuts, dim, seed, torch.device("cpu")).tolist() == found.tolist()


@pytest.mark.parametrize(("cuts", "level", "cut", "parts"), PARTS_OF)
def test_middles_are_those_of_the_published_code(cuts, level, cut, parts):
    level, cut = torch.tensor([level], dtype=torch.int16), torch.tensor([cut], dtype=torch.int16)
    assert int(whole_middles(level, cut, cuts)) == parts


@pytest.mark.parametrize("cuts", [2, 3, 7, 100, 254, 255, 256, 441, 3091, MOST_CUTS])
def test_whole_numbers_and_real_ones_give_the_same_middles(cuts):
    """At every level; at every cut, or at many of them. The real-valued rule is written out once more, in float64."""
    level = torch.arange(256, dtype=torch.int16)[None, :]
    cut = torch.arange(cuts, dtype=torch.int16)[:: max(1, cuts // 500), None]
    x, s, width = level.double() / 255, (cut.double() + 0.5) / 255, cuts / 255
    number = torch.ceil((x - s) / width)
    wanted = ((s + number * width).clamp(max=1) + (s + (number - 1) * width).clamp(min=0)) / 2
    found = from_parts(whole_middles(level, cut.expand(-1, 256).clone(), cuts))
    assert (found.double() - wanted).abs().max() < 6e-8
    floats = middles(x.float().expand(len(cut), -1), s.float().expand(-1, 256).clone(), width)
    assert (floats.double() - wanted).abs().max() < 3e-7


@pytest.mark.parametrize("width, middle", [(0.5, 0.5), (1.0, 0.375), (1.75, 0.375)])
def test_a_value_on_a_cut_belongs_to_the_piece_below(width, middle):
    """Cut at 0.75, and one width below where that is inside [0, 1]."""
    x, cut = torch.tensor([0.75]), torch.tensor([0.75 % width])
    assert middles(x, cut, width).tolist() == [middle]


@pytest.mark.parametrize("sigma", [0.05, 0.15, 0.29, 0.5, 2.0])
def test_middles_lie_in_the_piece_of_the_value(sigma):
    law = IndependentSplitting(sigma=sigma)
    x = torch.rand(50, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = law.copies(x.clone(), key(50))
    assert found.shape == x.shape and found.dtype == torch.float32 and bool(((found >= 0) & (found <= 1)).all())
    assert ((found - x).abs() <= law.width / 2 + 1e-6).all()
    assert torch.equal(
        law.copies(x[7:8], Key(*(part[7:8] for part in (key(50).image, key(50).draw)), seed=3, stream=1)), found[7:8]
    )


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.5, 1.5])
def test_exact_draws_are_the_law_of_floats_on_the_grid(sigma):
    """Middles of one pixel, drawn in both arithmetics: means agree within 5.5 standard errors, level by level."""
    law, rows = IndependentSplitting(sigma=sigma), 4000
    levels = torch.tensor([0, 1, 60, 128, 254, 255], dtype=torch.int16).view(1, 2, 3)
    exact = from_parts(law.pieces(levels, key(rows))).double().flatten(1)
    floats = law.copies((levels.float() / 255).expand(rows, 1, 2, 3), key(rows, stream=2)).double().flatten(1)
    for power in (1, 2):
        apart = (exact**power).mean(0) - (floats**power).mean(0)
        error = ((exact**power).var(0) / rows + (floats**power).var(0) / rows).sqrt()
        assert (apart.abs() <= 5.5 * error + 2 / 255).all()


@pytest.mark.parametrize("cuts", [2, 3, 7, 441])
def test_every_place_of_an_exact_cut_is_as_likely(cuts):
    number = torch.arange(400)
    key = Key(number % 5, number, seed=1, stream=1)
    drawn = inverted(50, key, (thresholds, cuts)).long().flatten() + (cuts - 1) // 2
    assert drawn.min() == 0 and drawn.max() == cuts - 1
    assert stats.chisquare(np.bincount(drawn.numpy(), minlength=cuts)).pvalue > 1e-6
    mass = np.diff([0, *(int(t) for t in thresholds(cuts)), 1 << 62])
    assert (
        max(mass) <= -(-(1 << 62) // cuts) and min(mass) >= (1 << 62) // cuts
    )  # no place has more than ceil(2**62 / L)


def test_dependent_noise_records_its_outcomes_and_its_offsets():
    cuts, dim, seed, *_, sha = OFFSETS[0]
    found = DependentSplitting(sigma=0.15).describe(dim)  # the seed is 0 unless another is wanted
    assert (found["outcomes"], found["width"], found["offsets_sha256"][:16]) == (cuts, cuts / LEVELS, sha) and seed == 0


def test_shifts_go_round_and_each_row_has_its_own():
    law, dim = DependentSplitting(sigma=sigma_of(9), offsets_seed=4), 12
    fixed = torch.from_numpy(fixed_offsets(9, dim, 4))
    shift = torch.tensor([0, 1, 8])
    assert torch.equal(shifted(fixed.to(torch.int16), shift, 9).long(), (fixed + shift[:, None]) % 9)
    levels = torch.randint(0, 256, (3, 1, 3, 4), dtype=torch.int16)
    rows = law.outcome(levels, shift)
    for row in range(3):
        assert torch.equal(law.outcome(levels[row], shift)[row], rows[row])
        cut = ((fixed + shift[row]) % 9).to(torch.int16).view(1, 3, 4)
        assert torch.equal(whole_middles(levels[row], cut, 9), rows[row])


def test_draws_of_dependent_noise_are_its_outcomes_and_floats_agree():
    law = DependentSplitting(sigma=0.3)
    levels = torch.randint(0, 256, (200, 3, 4, 4), dtype=torch.int16)
    drawn = law.pieces(levels, key(200))
    shift = law._shift(key(200))
    assert torch.equal(drawn, law.outcome(levels, shift)) and len(shift.unique()) > 100
    assert int(shift.min()) >= 0 and int(shift.max()) < law.outcomes == law.cuts
    assert (law.copies(levels.float() / 255, key(200)) - from_parts(drawn)).abs().max() < 3e-7


def test_a_change_of_one_level_changes_one_outcome_at_most():
    for cuts in (4, 200, 300):
        law = DependentSplitting(sigma=sigma_of(cuts))
        levels = torch.randint(0, 255, (1, 2, 3), dtype=torch.int16)
        other = levels.clone()
        other[0, 1, 2] += 1
        number = torch.arange(cuts)
        assert (law.outcome(levels, number) != law.outcome(other, number)).flatten(1).any(1).sum() <= 1


@pytest.mark.parametrize("sigma", [0.0005, 1000.0])
def test_levels_that_cannot_be_drawn_exactly_are_refused(sigma):
    for law in (IndependentSplitting(sigma=sigma), DependentSplitting(sigma=sigma)):
        assert "need a sigma from 0.0023 to 18.5" in law.exact_problems()[0]
    assert DependentSplitting(sigma=sigma).problems(784) and not IndependentSplitting(sigma=sigma).problems(784)
    for edge in (0.0023, 18.5):
        assert not IndependentSplitting(sigma=edge).exact_problems()
    drawable = [not IndependentSplitting(sigma=sigma_of(L)).exact_problems() for L in (1, 2, MOST_CUTS, MOST_CUTS + 1)]
    assert drawable == [False, True, True, False]


def test_radii_in_closed_form():
    noise, half = IndependentSplitting(sigma=0.5), math.sqrt(3) * 0.5
    l1, linf = shift_of(noise, "l1"), shift_of(noise, "linf")
    failure = np.array([0.0, 0.1, 0.3, 0.5, 0.9])
    np.testing.assert_allclose(l1.radius(failure, noise, None), half * np.array([1, 0.8, 0.4, 0, 0]), rtol=1e-9)
    np.testing.assert_allclose(l1.two(failure, failure, noise, None), half * np.array([1, 0.8, 0.4, 0, 0]), rtol=1e-9)
    assert l1.two(np.array([0.6]), np.array([0.2]), noise, None)[0] == pytest.approx(half * 0.2)
    assert l1.failure(np.array([0.0, half / 2, 2 * half]), noise, None).tolist() == pytest.approx([0.5, 0.25, 0.0])
    d = 784
    inside = linf.radius(failure, noise, d)
    assert (inside >= l1.radius(failure, noise, d) / d).all() and inside[-1] == 0
    np.testing.assert_allclose(1 - (1 - inside[:3] / noise.width) ** d, 0.5 - failure[:3], rtol=1e-9)


def test_exact_draws_have_radii_of_the_whole_width():
    noise = IndependentSplitting(sigma=0.5)
    exact = noise.drawn_exactly()
    assert all(
        kind(sigma=sigma).drawn_exactly().cuts == L for kind in (DependentSplitting,) for sigma, L in CUTS.items()
    )
    assert exact.width <= 441 / 255 < noise.width and exact.width == pytest.approx(441 / 255, rel=1e-12)
    assert noise.distance(3072) == 0.0 and "half-way" in noise.says(True) and "up to rounding" in noise.says(False)
    assert DependentSplitting(sigma=0.5).says(True).startswith("every outcome counted (all 441 shifts")


def test_no_place_of_a_cut_is_drawn_more_often_than_the_width_of_exact_draws_allows():
    """In exact arithmetic, for thousands of numbers L of places: none is drawn more often than 1 / (255 width)."""
    for L in [*range(2, 1500), *range(1500, MOST_CUTS + 1, 7), MOST_CUTS]:
        exact = IndependentSplitting(sigma=(L + 0.5) / LEVELS / (2 * math.sqrt(3))).drawn_exactly()
        often = Fraction(-(-(1 << BITS) // L), 1 << BITS)
        assert Fraction(exact.width) * LEVELS * often <= 1 and exact.width * LEVELS > L * (1 - 1e-13)


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.2])
@pytest.mark.parametrize("tied", [False, True], ids=["independent", "one cut for both"])
def test_probabilities_change_by_no_more_than_the_distance_over_the_width(sigma, tied):
    """Two pixels, cuts on a fine grid, any classifier of the two middles: all probabilities, exactly but for the grid."""
    width, steps = 2 * sigma, 96
    s = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps * width
    cuts = torch.stack([s, s], 1) if tied else torch.cartesian_prod(s, s)
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.random((12, 2)))
    weight = torch.from_numpy(rng.normal(size=(2, 16)))

    def shares(image):
        shown = middles(image.expand(len(cuts), 2).float(), cuts.float().clone(), width).double()
        return torch.bincount(((shown @ weight * 3).sin().argmax(1)) % 3, minlength=3) / len(cuts)

    found = [shares(image) for image in images]
    for i in range(12):
        for j in range(i):
            limit = float((images[i] - images[j]).abs().sum()) / width
            assert (found[i] - found[j]).abs().max() <= limit + 4 / steps
