"""The counter-based generator: known answers, golden normals, independence of the batch."""

import math
import operator
import shutil
import subprocess
import sys
import warnings
from functools import partial

import pytest
import torch
from scipy import stats

from certflow.machine.compilers import FOLDERS, keep_compilers_private
from certflow.noise import philox
from certflow.noise.base import Key
from certflow.noise.steps import steps

SEED = 0x0123456789ABCDEF
LEVEL = 1e-6

KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
GOLDEN = [
    (
        (3072, 7, 3, 1),
        (-0.403144837, -1.248304573, -0.218341588, -0.185426594, -0.332771799, -0.158042328),
    ),
    ((784, 0, 0, 0), (0.110069136, -0.381040088, -0.803099397, -2.223492573, 0.300901045, 0.810883905)),
    (
        (3072, 9999, 99999, 2),
        (0.614062528, 0.737999265, 0.543208097, 2.173819721, -0.389862055, -1.232102418),
    ),
]


def plain_philox(counter, key):
    """Ten rounds in Python integers, straight from the definition in the paper."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p, q = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & 0xFFFFFFFF, (p >> 32) ^ c3 ^ k1, p & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def int64(*values):
    return torch.tensor(values, dtype=torch.int64)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers_of_the_paper(counter, key, answer):
    words = philox.philox(tuple(int64(word) for word in counter), key)
    assert [f"{int(word):08x}" for word in words] == answer.split()


@pytest.mark.parametrize(("row", "golden"), GOLDEN)
def test_golden_normals(row, golden):
    d, image, draw, stream = row
    values = philox.normals(d, Key(int64(image), int64(draw), seed=SEED, stream=stream))[0]
    at = [values[e].item() for e in (0, 1, d // 4, d // 2, 3 * d // 4, d - 1)]
    assert at == pytest.approx(golden, abs=2e-6)


def test_golden_words():
    words = philox.words(3072, Key(int64(7), int64(3), seed=SEED, stream=1))
    assert [f"{int(word):08x}" for word in words[0, :, 0]] == "e675cd90 94394e6f ee152100 ab4986a8".split()


def test_words_agree_with_plain_integers_in_every_layout():
    image, draw = int64(0, 5, 2**32 - 1, 77), int64(2**32 - 1, 0, 12, 99_999)
    words = philox.words(11, Key(image, draw, seed=SEED, stream=3))
    key = (SEED & 0xFFFFFFFF, SEED >> 32)
    for row in range(4):
        for group in range(3):
            counter = (group, int(draw[row]), int(image[row]), 3)
            assert tuple(words[row, :, group].tolist()) == plain_philox(counter, key)


def test_in_place_rounds_equal_the_definition():
    image, draw = torch.arange(37) * 1_000_003, torch.arange(37).flip(0)
    group = torch.arange(50)[None]
    words = philox.philox((group, draw[:, None], image[:, None], int64(1)[None]), (SEED & 0xFFFFFFFF, SEED >> 32))
    assert torch.equal(torch.stack(words, 1), philox.words(200, Key(image, draw, seed=SEED, stream=1)))


def test_elements_are_planar():
    d = 10
    words = philox.words(d, Key(int64(4), int64(9), seed=SEED, stream=1))[0]
    u = philox.uniforms(d, Key(int64(4), int64(9), seed=SEED, stream=1))[0]
    groups = math.ceil(d / 4)
    for e in range(d):
        assert u[e].item() == pytest.approx((int(words[e // groups, e % groups]) + 0.5) / 2**32, rel=1e-7)


def test_uniforms_stay_inside_the_open_interval():
    extreme = torch.tensor([0, 1, 2**32 - 2, 2**32 - 1])
    u = philox._to_uniform(extreme.clone())
    assert 0 < u.min() and u.max() < 1
    assert u[0].item() == 2.0**-33
    assert math.sqrt(-2 * math.log(u[0].item())) == pytest.approx(6.76, abs=0.01)


def test_signed_values_have_the_top_bit_for_a_sign_and_31_bits_of_size():
    extreme = torch.tensor([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
    found = philox._to_signed(extreme.clone()).tolist()
    assert found == [2.0**-32, 3 * 2.0**-32, 1 - 2.0**-24, -(2.0**-32), -3 * 2.0**-32, -(1 - 2.0**-24)]
    words = philox.words(18, Key(int64(4), int64(9), seed=SEED, stream=1))[0].flatten()[:18].tolist()
    exact = [((w & 0x7FFFFFFF) + 0.5) / 2**31 * (-1 if w >> 31 else 1) for w in words]
    assert philox.signed(18, Key(int64(4), int64(9), seed=SEED, stream=1))[0].tolist() == pytest.approx(exact, rel=1e-7)


def test_box_muller_agrees_with_float64():
    d, rows = 400, 50
    image, draw = torch.arange(rows), torch.zeros(rows, dtype=torch.int64)
    u = (philox.words(d, Key(image, draw, seed=SEED, stream=1)).double() + 0.5) / 2**32
    radius, angle = torch.sqrt(-2 * torch.log(u[:, 0::2])), 2 * math.pi * u[:, 1::2]
    expected = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), 2).reshape(rows, d)
    assert torch.allclose(
        philox.normals(d, Key(image, draw, seed=SEED, stream=1)).double(), expected, rtol=0, atol=3e-6
    )


@pytest.mark.parametrize("d", [1, 3, 4, 64, 785])
def test_a_row_depends_on_its_own_counters_only(d, monkeypatch):
    image, draw = torch.arange(23) % 5, torch.arange(23) * 7
    whole = philox.normals(d, Key(image, draw, seed=SEED, stream=1))
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    assert torch.equal(philox.normals(d, Key(image[order], draw[order], seed=SEED, stream=1)), whole[order])
    monkeypatch.setattr(philox, "CPU_BLOCK", 3 * -(-d // 4))
    assert torch.equal(philox.normals(d, Key(image, draw, seed=SEED, stream=1)), whole)


def test_seed_stream_image_and_draw_all_matter():
    base = philox.normals(64, Key(int64(1), int64(1), seed=1, stream=1))
    for image, draw, seed, stream in ((2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2), (1, 1, 1 + 2**32, 1)):
        assert not torch.equal(philox.normals(64, Key(int64(image), int64(draw), seed=seed, stream=stream)), base)


@pytest.mark.parametrize("device, limit", [("cpu", 2**16), ("meta", 2**24)])
def test_as_many_rows_are_worked_on_at_a_time_as_there_is_room_for(device, limit):
    """2^16 groups stay in a core's cache; on other devices 2^24 need about 1 GB. A row that needs more is a block by itself."""
    image = torch.empty(300, device=device)
    for groups in (1, 768, 50_000, limit + 1):
        blocks = philox._blocks(image, groups)
        assert [row for block in blocks for row in range(300)[block]] == list(range(300))
        rows = blocks[0].stop
        assert (rows + 1) * groups > limit and (rows * groups <= limit or rows == 1)
    assert philox.uniforms(0, Key(torch.arange(3), torch.arange(3), seed=1, stream=1)).shape == (3, 0)


def test_both_forms_of_box_and_mullers_transform_give_the_same_bits():
    """One for the compiler, one in place."""
    u, v = philox.uniforms(64, Key(torch.arange(2), torch.arange(2), seed=SEED, stream=1))
    found = torch.empty(2, 64)
    wanted = torch.stack(philox._box_muller(u, v))
    philox._box_muller_(u, v, *found)
    assert torch.equal(found, wanted)


def test_no_rows_give_no_rows():
    empty = torch.empty(0, dtype=torch.int64)
    assert philox.normals(12, Key(empty, empty, seed=0, stream=0)).shape == (0, 12)


DRAWING = {
    "words": partial(philox.words, 8),
    "integers": partial(philox.integers, 8, high=9),
    "uniforms": partial(philox.uniforms, 8),
    "signed": partial(philox.signed, 8),
    "normals": partial(philox.normals, 8),
    "wide_uniforms": philox.wide_uniforms,
    "steps": partial(steps, 8, sigma=0.25),
}


@pytest.mark.parametrize("draws", DRAWING.values(), ids=DRAWING)
def test_what_does_not_fit_the_counter_or_the_key_is_refused(draws):
    """Else C would read numbers that are not there, and take another seed than torch does."""
    two = int64(0, 1)
    for rows in (
        (two.int(), two),
        (two, two.int()),
        (two.float(), two.float()),
        (two, two[:1]),
        (two[None], two[None]),
    ):
        with pytest.raises(ValueError, match="two int64 vectors of one length"):
            draws(Key(*rows, seed=0, stream=1))
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed must lie in"):
            draws(Key(two, two, seed=seed, stream=1))
    first, last = (draws(Key(two, two, seed=seed, stream=1)) for seed in (0, 2**64 - 1))
    assert len(first) == 2 and not torch.equal(first, last)


def test_integers_lie_below_their_bound_and_are_uniform():
    values = philox.integers(40_000, Key(int64(3), int64(0), seed=SEED, stream=17), high=9)[0]
    assert values.min() == 0 and values.max() == 8
    assert stats.chisquare(torch.bincount(values).numpy()).pvalue > LEVEL
    ends = philox.integers(400, Key(int64(3), int64(0), seed=SEED, stream=17), high=2**31)
    assert 2**30 < ends.max() < 2**31
    assert not philox.integers(9, Key(int64(3), int64(0), seed=SEED, stream=17), high=1).any()
    for high in (0, 2**31 + 1):
        with pytest.raises(ValueError, match="high: must be between 1 and 2"):
            philox.integers(4, Key(int64(0), int64(0), seed=0, stream=0), high=high)


def test_normals_follow_the_normal_law():
    values = philox.normals(250_000, Key(torch.arange(4), torch.zeros(4, dtype=torch.int64), seed=SEED, stream=1))
    sample = values.flatten().double().numpy()
    assert stats.kstest(sample, "norm").pvalue > LEVEL
    standardised = [
        abs(sample.mean()) * 1e3,
        abs((sample**2).mean() - 1) / math.sqrt(2) * 1e3,
        abs((sample**3).mean()) / math.sqrt(15) * 1e3,
        abs((sample**4).mean() - 3) / math.sqrt(96) * 1e3,
    ]
    assert max(standardised) < stats.norm.isf(LEVEL / 8)


def test_squared_norms_of_draws_follow_chi_square():
    draws = torch.arange(2000)
    values = philox.normals(256, Key(torch.full_like(draws, 6), draws, seed=SEED, stream=0))
    assert stats.kstest((values.double() ** 2).sum(1).numpy(), stats.chi2(256).cdf).pvalue > LEVEL


def test_lanes_and_neighbouring_draws_are_uncorrelated():
    draws = torch.arange(400)
    values = philox.normals(1024, Key(torch.full_like(draws, 6), draws, seed=SEED, stream=1)).double()
    lanes = values.view(400, 4, 256).transpose(0, 1).flatten(1)
    lanes = torch.corrcoef(lanes)[~torch.eye(4, dtype=torch.bool)].abs().max() * math.sqrt(lanes.shape[1])
    neighbours = torch.corrcoef(torch.stack((values[:-1].flatten(), values[1:].flatten())))[0, 1].abs()
    bound = stats.norm.isf(LEVEL / 14)
    assert lanes < bound
    assert neighbours * math.sqrt(values[1:].numel()) < bound


def test_importing_the_noises_does_not_import_torch():
    program = "import sys, certflow.noise; certflow.noise.Gaussian(sigma=0.25); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.slow
def test_compiled_code_gives_the_same_integers(monkeypatch):
    """What torch compiled for other vectors and finds in its cache, would not."""
    for variable in FOLDERS:
        monkeypatch.setenv(variable, "")
    keep_compilers_private()
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        pytest.skip("no C++ compiler")
    image, draw = int64(7, 0, 2**32 - 1), int64(3, 0, 2**32 - 1)

    def drawn(image, draw):
        key = Key(image, draw, seed=SEED, stream=1)
        return philox.words(18, key), philox.normals(18, key)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        words, normals = torch.compile(drawn, dynamic=False)(image, draw)
    assert torch.equal(words, philox.words(18, Key(image, draw, seed=SEED, stream=1)))
    assert torch.allclose(normals, philox.normals(18, Key(image, draw, seed=SEED, stream=1)), rtol=0, atol=2e-6)


def test_compiled_code_multiplies_no_loop_index():
    """A GPU's compiler writes `arange` as the index of its loop, of 32 bits, and a product of it would be of 32 bits, too."""
    graphs = []

    def drawn(image, draw):
        return philox.words(18, Key(image, draw, seed=SEED, stream=1))

    def kept(graph, inputs):
        graphs.append(graph.graph)
        return graph.forward

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        torch.compile(drawn, backend=kept, fullgraph=True)(torch.arange(3), torch.arange(3))
    (graph,) = graphs
    (index,) = (node for node in graph.nodes if node.target is torch.arange)
    (shaped,) = index.users
    assert shaped.target is operator.getitem
    products = [user for user in shaped.users if user.target is operator.mul]
    assert products == [] and any(node.target is operator.mul for node in graph.nodes)
