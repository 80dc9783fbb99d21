"""All outcomes of dependent splitting: brute force over perturbations, an independent loop, the stages, and mutants of each."""

import math
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from stage_examples import DIGITS, Home, certificate_of, sampler_of

from certflow.certify.base import Drawn, pairing_problems
from certflow.certify.counts import CountsError
from certflow.certify.kinds import dssn as certificate_module
from certflow.certify.kinds.dssn import DependentSplittingCertificate
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.certify.table import certificate_table
from certflow.data.store import open_split
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, read_table
from certflow.kinds.registry import spec_class
from certflow.noise import DependentSplitting, Gaussian, IndependentSplitting, pieces
from certflow.noise.streams import Stream
from certflow.sampling import stage
from certflow.sampling.base import Measurement
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.copies import copies_of
from certflow.sampling.engine import count_classes
from certflow.sampling.kinds.enumerated import Enumerated
from certflow.sampling.kinds.fixed import Fixed

EXACT = DependentSplittingCertificate(sampler="all")


def law_of(cuts: int, kind=DependentSplitting, **more):
    """Splitting noise with so many cuts."""
    return kind(sigma=(cuts + 0.25) / (2 * math.sqrt(3) * 255), **more)


def window(low: int, levels: int, dim: int) -> np.ndarray:
    """uint8 [images, 1, 1, dim]: all images with pixels low, ..., low + levels - 1."""
    return np.array(list(product(range(low, low + levels), repeat=dim)), np.uint8)[:, None, None, :]


class Lookup:
    """An arbitrary classifier: any middle of pieces may have any class. Another one for each seed."""

    def __init__(self, dim: int, classes: int, seed: int):
        rng = np.random.default_rng(seed)
        self.places = torch.from_numpy(rng.integers(1, 1 << 20, dim))
        self.table = torch.from_numpy(rng.random((997, classes), np.float32))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        parts = (x.flatten(1).double() * 1020).round().long()
        return self.table[(parts * self.places).sum(1) % 997]


def counted(base, law, images, **more) -> np.ndarray:
    n = np.full(len(images), law.cuts)
    told = {"noise": law, "seed": 0, "stream": Stream.ESTIMATION, "arithmetic": "exact", "every": True, "quiet": True}
    return count_classes(base, images, np.arange(len(images)), n, **{**told, **more}).counts


def certified(law, counts, certificate=EXACT, **extra) -> pd.DataFrame:
    """The table that the certificate makes, by the sampler's own plan."""
    columns = Enumerated().plan(np.zeros_like(counts), law)
    plan = pd.DataFrame({"idx": range(len(counts)), "label": 0, "n0": 0, "k0_other": 0, **columns})
    return certificate_table(Drawn(plan, counts, law, 3, extra=extra, exact=True), certificate, np.zeros(len(counts)))


def violations(law, images, classes, models=4) -> tuple[int, int, int, int]:
    """Over all pairs of images: counts that change too much, predictions that change within a radius, how often a count changes
    as much as it may, and radii that could not be one level larger."""
    levels = images.reshape(len(images), -1).astype(int)
    apart = np.abs(levels[:, None] - levels[None]).sum(-1)
    found = np.zeros(4, int)
    for seed in range(models):
        counts = counted(world(images.shape[-1], classes, seed)[0], law, images)
        table = certified(law, counts)
        moved = np.abs(counts[:, None] - counts[None]).max(-1)
        reach = np.rint(table["radius"].to_numpy() * 255).astype(int)
        other = table["predict"].to_numpy()[:, None] != table["predict"].to_numpy()[None]
        found += (
            (moved > apart).sum(),
            (other & (apart <= reach[:, None])).sum(),
            ((moved == apart) & (apart > 0)).sum(),
            0,
        )
        found[3] += (other & (apart == reach[:, None] + 1)).any(1).sum()
    return tuple(found.tolist())


@cache
def world(dim: int, classes: int, seed: int = 0) -> tuple[BaseClassifier, Lookup]:
    """A base classifier of images [1, 1, dim], and the table behind it."""
    lookup = Lookup(dim, classes, seed)
    return BaseClassifier(lookup, shape=(1, 1, dim), classes=classes, batch=256), lookup


WORLDS = [
    (2, 9, 2, 2),
    (3, 9, 2, 3),
    (4, 5, 3, 2),
    (4, 5, 3, 4),
    (7, 5, 3, 3),
    (7, 9, 2, 5),
    (9, 4, 4, 3),
    (12, 6, 3, 2),
]
WORLDS += [(20, 6, 3, 3), (254, 4, 2, 3), (256, 4, 2, 2), (300, 3, 3, 3)]
"""Cuts, levels of the window, dimensions, classes: odd and even, below and above the window's levels, below and above 255."""


@pytest.mark.parametrize(("cuts", "levels", "dim", "classes"), WORLDS)
@pytest.mark.parametrize("low", [0, 100])
def test_no_perturbation_within_the_radius_changes_the_class(cuts, levels, dim, classes, low):
    found = violations(law_of(cuts), window(low, levels, dim), classes)
    assert found[:2] == (0, 0) and found[2] > 0, "bounds must hold, and be reached by some change"
    assert found[3] > 0 or cuts > 12, "some radii must be as large as they can be"


def certificate_mutant(rule):
    return lambda monkeypatch: monkeypatch.setattr(certificate_module, "certified_levels", rule)


def fresh_cuts_for_every_shift(monkeypatch):
    def shifted(offsets, shift, cuts):
        rows = [np.random.default_rng(int(t)).integers(cuts, size=len(offsets)) for t in shift]
        return torch.from_numpy(np.array(rows, np.int16))

    monkeypatch.setattr(pieces, "shifted", shifted)


def offsets_of_each_image(monkeypatch):
    right = DependentSplitting._cut

    def outcome(law, levels, number):
        levels = levels.expand(len(number), *levels.shape[-3:])
        rows = []
        for image, t in zip(levels, number, strict=True):
            own = law.model_copy(
                update={"offsets_seed": int((image.long() * torch.arange(1, 1 + image.numel())).sum())}
            )
            rows.append(pieces.whole_middles(image, right(own, image.shape, t[None])[0], law.cuts))
        return torch.stack(rows)

    monkeypatch.setattr(DependentSplitting, "outcome", outcome)


def pieces_narrower_than_the_shifts(monkeypatch):
    right = pieces.whole_middles
    monkeypatch.setattr(pieces, "whole_middles", lambda levels, cut, cuts: right(levels, cut, cuts - 1))


MUTANTS = {
    "no tie": certificate_mutant(lambda first, k, second, k_other, unsure: (k - k_other) // 2),
    "tie reversed": certificate_mutant(lambda first, k, second, k_other, unsure: (k - k_other - (second > first)) // 2),
    "rounded up": certificate_mutant(
        lambda first, k, second, k_other, unsure: (k - k_other - (second < first) + 1) // 2
    ),
    "margin not halved": certificate_mutant(lambda first, k, second, k_other, unsure: k - k_other - (second < first)),
    "fresh cuts for every shift": fresh_cuts_for_every_shift,
    "offsets of each image": offsets_of_each_image,
    "pieces narrower than the shifts": pieces_narrower_than_the_shifts,
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("cuts", [4, 7])
def test_wrong_rules_are_found_out(mutant, cuts, monkeypatch):
    MUTANTS[mutant](monkeypatch)
    assert sum(violations(law_of(cuts), window(96, 5, 3), 3)[:2]) > 0


@pytest.mark.parametrize("cuts", [4, 6])
def test_the_rule_of_one_class_without_its_tie_is_found_out(cuts, monkeypatch):
    """floor((2 n1 - L) / 2) claims a level where exactly half of an even number of votes are left."""
    MUTANT = certificate_mutant(lambda first, k, second, k_other, unsure: np.maximum((2 * k - cuts) // 2, 0))
    MUTANT(monkeypatch)
    assert violations(law_of(cuts), window(96, 5, 3), 2)[1] > 0


def test_cuts_that_do_not_go_round_are_found_out(monkeypatch):
    """Up to 255 cuts it makes no difference. Beyond, radii would hold all the same, for counts of another law."""
    law, images, (base, _) = law_of(300), window(0, 4, 3), world(3, 3, seed=1)
    right = counted(base, law, images)
    monkeypatch.setattr(pieces, "shifted", lambda offsets, shift, cuts: offsets + shift.to(torch.int16)[:, None])
    assert (counted(base, law, images) != right).any()


def contrasts() -> torch.nn.Module:
    """A network that looks at differences between pixels, so that middles around 1/2 do not all look the same to it."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 24), torch.nn.Tanh(), torch.nn.Linear(24, 10))
    with torch.no_grad():
        network[1].weight.sub_(network[1].weight.mean(1, keepdim=True)).mul_(8)
    return network.eval()


def votes_by_hand(network, image: np.ndarray, cuts: int, seed: int) -> list[int]:
    """The published procedure, written down once more: float64 numbers, one shift and one image after the other."""
    offsets = np.random.RandomState(seed).randint(cuts, size=image.size).reshape(image.shape)
    x, width, votes = image / 255, cuts / 255, []
    for shift in range(cuts):
        cut = ((offsets + shift) % cuts + 0.5) / 255
        piece = np.ceil((x - cut) / width)
        upper = np.minimum(cut + piece * width, 1)
        lower = np.maximum(cut + (piece - 1) * width, 0)
        shown = torch.from_numpy((upper + lower) / 2).float()
        votes.append(int(network(shown[None]).argmax()))
    return votes


@pytest.mark.parametrize(("cuts", "seed"), [(132, 0), (300, 5)])
def test_votes_are_those_of_an_independent_loop(home, cuts, seed):
    law = law_of(cuts, offsets_seed=seed)
    network, images = contrasts(), open_split(DIGITS, home.given["manifest"], "test").read(np.arange(3))
    base = BaseClassifier(network, shape=images.shape[1:], batch=50)
    copies = copies_of(base, law, seed=1, stream=9, arithmetic="exact", parameter=False, every=True)
    seen = set()
    with torch.inference_mode():
        for image in images:
            number = torch.arange(cuts)
            rows = copies.rows(copies.hold(torch.from_numpy(image)), torch.zeros_like(number), number, None)
            found = torch.cat([base.classify(part)[0] for part in rows.split(50)]).tolist()
            assert found == votes_by_hand(network, image, cuts, seed)
            seen |= set(found)
            once = np.bincount(found, minlength=base.classes)
            assert counted(base, law, image[None])[0].tolist() == once.tolist()
    assert len(seen) > 1


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("all"), noise=DependentSplitting(sigma=0.15)).prepared()


def test_the_pipeline_certifies_without_a_first_look(home, tmp_path, monkeypatch):
    """Stage 1 loads no network; shards and batch sizes change nothing; the table says what it claims."""
    sampler, certificate = certificate_of("dssn")
    opened = stage.open_setting
    monkeypatch.setattr(stage, "open_setting", None)
    first = home.presample(sampler, tmp_path / "presample.npz")
    monkeypatch.setattr(stage, "open_setting", opened)
    arrays, record = read_arrays(first, format="presample")
    assert arrays["counts"].sum() == 0 and "precision" not in record.notes
    plan = home.plan(sampler, first, tmp_path / "plan.tsv")
    assert (read_table(plan)[0]["n"] == 132).all()
    tables, found = [], []
    for shards in (1, 2, 3):
        if shards == 3:
            small = lambda *given, **more: BaseClassifier(*given, **{**more, "batch": 24})  # noqa: E731
            monkeypatch.setattr(stage, "BaseClassifier", small)
        counts = home.sample(plan, tmp_path / f"counts{shards}.npz", shards)
        found.append(read_arrays(counts)[0]["counts"])
        tables.append(read_table(home.certify(certificate, plan, counts, tmp_path / f"{shards}.tsv")))
    assert all(np.array_equal(one, found[0]) for one in found) and (found[0].sum(1) == 132).all()
    table, record = tables[0]
    assert (table["selected"] == found[0].argmax(1)).all() and (table["n0"] == 0).all()
    assert record.notes["claim"] == {"norm": "l1", "alpha": 0.0, "domain": "8-bit grid"}
    assert record.notes["outcomes"] == 132 and len(record.notes["offsets_sha256"]) == 64
    kept = ["predict", "radius", "k", "k_other", "other"]
    assert all(one[0][kept].equals(table[kept]) for one in tables)


def test_unsure_votes_count_against_the_radius(home, tmp_path):
    sampler, certificate = certificate_of("dssn")
    wide = sampler.model_copy(update={"margin": 0.05})
    plan, counts = home.counted(wide, tmp_path, shards=2)
    arrays = read_arrays(counts)[0]
    unsure = arrays["unsure"]
    assert unsure.any() and (unsure < 132).any()
    table = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"))[0]
    plain = certified(home.noise, arrays["counts"])
    levels = np.rint(plain["radius"].to_numpy() * 255)
    safe = (table["predict"] >= 0).to_numpy()
    assert (np.rint(table["radius"].to_numpy() * 255)[safe] == (levels - unsure)[safe]).all()
    assert (
        (table["unsure"] == unsure).all()
        and (levels - unsure < 0)[~safe].all()
        and (table.loc[~safe, "radius"] == 0).all()
    )


def test_votes_within_the_margin_are_counted():
    base, lookup = world(3, 3, seed=3)
    law, images = law_of(7), window(0, 3, 3)
    told = {"noise": law, "seed": 0, "stream": 0, "arithmetic": "exact", "every": True, "quiet": True}
    found = count_classes(base, images, np.arange(27), np.full(27, 7), margin=0.1, **told)
    levels = torch.from_numpy(images).to(torch.int16)
    for image, unsure in zip(levels, found.unsure, strict=True):
        top = lookup(pieces.from_parts(law.outcome(image, torch.arange(7)))).topk(2).values
        assert unsure == int((top[:, 0] - top[:, 1] < 0.1).sum())
    assert found.counts.tolist() == counted(base, law, images).tolist() and found.unsure.any()


@pytest.mark.parametrize(
    ("draws", "more", "message"),
    [
        (6, {}, "takes 7 of them"),
        (8, {}, "takes 7 of them"),
        (7, {"start": np.full(8, 1)}, "from number 0 on"),
        (7, {"arithmetic": "float"}, "enumerated in exact arithmetic alone"),
        (7, {"noise": Gaussian(sigma=0.1)}, "no outcomes"),
        (7, {"noise": law_of(7, IndependentSplitting)}, "no outcomes"),
    ],
)
def test_what_cannot_be_enumerated_is_refused(draws, more, message):
    base, _ = world(3, 3)
    told = {"noise": law_of(7), "seed": 0, "stream": 0, "arithmetic": "exact", "every": True, "quiet": True}
    with pytest.raises(ValueError, match=message):
        count_classes(base, window(0, 2, 3), np.arange(8), np.full(8, draws), **{**told, **more})


def test_entries_that_do_not_fit_are_refused(tmp_path, home):
    noise, sampler = home.noise, Enumerated()
    assert pairing_problems(EXACT, noise, sampler) == []
    assert "needs noise that is levelwise" in pairing_problems(EXACT, Gaussian(sigma=0.5), sampler)[0]
    assert "sampler of kind enumerated" in pairing_problems(EXACT, noise, Fixed())[0]
    assert "is for draws; use dssn" in pairing_problems(NeymanPearson(sampler="all"), noise, sampler)[0]
    assert "no l1 radius" in pairing_problems(NeymanPearson(sampler="all", norm="l1"), noise, Fixed())[0]
    assert "none to enumerate" in sampler.noise_problems(Gaussian(sigma=0.5))[0] and not sampler.noise_problems(noise)
    for law in (noise, IndependentSplitting(sigma=0.5)):
        assert "additive and differentiable" in spec_class("attack", "smooth_pgd").small().problems(law)[0]
    with pytest.raises(ValueError):
        DependentSplittingCertificate(sampler="all", alpha=0.001)
    counts = np.array([[100, 31], [66, 66]])
    with pytest.raises(CountsError, match="image idx 0"):
        certified(noise, counts)
    plan = pd.DataFrame({"idx": [0], "label": 0, "n0": 0, "k0": 0, "selected": 0, "n": 131})
    with pytest.raises(CountsError, match="131, but the noise has 132"):
        EXACT.certify(Drawn(plan, counts[:1], noise))
    with pytest.raises(ArtefactError):
        certificate_table(Drawn(plan, counts[:1], noise, exact=True), EXACT, np.zeros(1), source="counts.npz")


@pytest.mark.parametrize(
    ("counts", "predict", "levels"),
    [
        ([132, 0, 0], 0, 66),
        ([0, 132, 0], 1, 65),
        ([0, 0, 132], 2, 65),
        ([66, 66, 0], 0, 0),
        ([44, 44, 44], 0, 0),
        ([10, 61, 61], 1, 0),
        ([61, 62, 9], 1, 0),
        ([62, 61, 9], 0, 0),
        ([63, 61, 8], 0, 1),
        ([61, 63, 8], 1, 0),
    ],
)
def test_radii_of_known_counts(counts, predict, levels, tmp_path):
    law = DependentSplitting(sigma=0.15)
    table = certified(law, np.array([counts]))
    assert (table["predict"][0], table["radius"][0]) == (predict, levels / 255)
    grid = certified(law, np.array([counts]), EXACT.model_copy(update={"grid": True}))
    assert levels / 255 < grid["radius"][0] < (levels + 1) / 255


def test_permuted_classes_change_the_radius_by_the_tie_alone():
    rng, law = np.random.default_rng(0), DependentSplitting(sigma=0.15)
    counts = rng.multinomial(132, [0.5, 0.3, 0.1, 0.1], 200)
    plain = certified(law, counts)
    for names in ([1, 0, 2, 3], [3, 2, 1, 0]):
        turned = certified(law, counts[:, names])
        assert (np.rint(255 * (turned["radius"] - plain["radius"]).abs()) <= 1).all()


def test_bounds_of_independent_splitting_hold_as_often_as_they_say():
    """Exact draws from 7 × 7 cuts, under 20 seeds: the bound of every image's probability against the probability itself; and
    no class changes within a radius but where the bound failed."""
    base, lookup = world(2, 3, seed=5)
    law, images, alpha, n = law_of(7, IndependentSplitting), window(100, 5, 2), 0.1, 300
    levels = torch.from_numpy(images).to(torch.int16)
    cut = torch.cartesian_prod(*[torch.arange(7, dtype=torch.int16)] * 2)[:, None, None, :]
    votes = [lookup(pieces.from_parts(pieces.whole_middles(image, cut.clone(), 7))).argmax(1) for image in levels]
    share = np.stack([np.bincount(one, minlength=3) / 49 for one in votes])
    apart = np.abs(images.reshape(25, 2)[:, None].astype(int) - images.reshape(25, 2)[None]).sum(-1)
    certificate, wrong, unsound, total = NeymanPearson(sampler="s", norm="l1", alpha=alpha), 0, 0, 0
    for seed in range(20):
        told = {"noise": law, "seed": seed, "arithmetic": "exact", "quiet": True}
        first = count_classes(base, images, np.arange(25), np.full(25, 30), stream=Stream.SELECTION, **told).counts
        second = count_classes(base, images, np.arange(25), np.full(25, n), stream=Stream.ESTIMATION, **told).counts
        columns = Fixed(n0=30, n=n).plan(first, law)
        plan = pd.DataFrame({"idx": range(25), "label": 0, "n0": 30, "k0_other": 0, **columns})
        table = certificate.certify(Drawn(plan, second, law.drawn_exactly(), 2, seed, exact=True))
        true = share[np.arange(25), columns["selected"]]
        failed = table["p_lower"].to_numpy() > true
        other = table["predict"].to_numpy()[:, None] != share.argmax(1)[None]
        within = (apart / 255 < table["radius"].to_numpy()[:, None]) & (table["predict"] >= 0).to_numpy()[:, None]
        unsound += ((other & within).any(1) & ~failed).sum()
        wrong, total = wrong + int(failed.sum()), total + 25
        assert (np.abs(second / n - share) < 5.5 * np.sqrt(share * (1 - share) / n) + 1e-9).all()
    assert unsound == 0 and stats.binom.sf(wrong - 1, total, alpha) > 1e-6 and wrong > 0


def test_a_plan_of_other_draws_is_told_apart():
    one = Measurement(
        "counts", DependentSplitting(sigma=0.15), Stream.ESTIMATION, np.full(3, 132), every=True, margin=0.1
    )
    part = one.part(slice(0, 2))
    assert part.every and part.margin == 0.1 and part.draws.tolist() == [132, 132]
    assert sampler_of("enumerated").cost(one.noise) == 132 and replace(one, every=False) != one
