"""The public door under splitting noise: l1 radii from draws, and from all outcomes."""

import numpy as np
import pytest
import torch

from certflow import SmoothedClassifier
from certflow.noise import DependentSplitting, Gaussian, IndependentSplitting

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 1, 3, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4, bias=False))
    with torch.no_grad():
        network[1].weight.mul_(5).sub_(network[1].weight.mean(1, keepdim=True))
    return network


def test_all_outcomes_give_class_radius_and_counts(model):
    noise = DependentSplitting(sigma=0.3)
    table = SmoothedClassifier(model, noise, device="cpu").certify(IMAGES, norm="l1", quiet=True)
    assert table.columns.tolist() == ["idx", "predict", "radius", "count", "other_count", "n"]
    counts = np.zeros((4, 4), int)
    for image, row in zip(IMAGES, counts, strict=True):
        shown = noise.outcome(torch.from_numpy(image).to(torch.int16), torch.arange(noise.outcomes)) / 1020
        row += np.bincount(model(shown).argmax(1).numpy(), minlength=4)
    order = np.argsort(-counts, axis=1, kind="stable")
    first, second = order[:, 0], order[:, 1]
    rows = np.arange(4)
    assert table["predict"].tolist() == first.tolist() and (table["n"] == 265).all()
    assert table["count"].tolist() == counts[rows, first].tolist()
    assert table["other_count"].tolist() == counts[rows, second].tolist()
    levels = (counts[rows, first] - counts[rows, second] - (second < first)) // 2
    assert table["radius"].tolist() == (levels / 255).tolist() and (levels > 0).any()


def test_floats_on_the_grid_batches_and_the_norm_change_nothing(model):
    door = SmoothedClassifier(model, DependentSplitting(sigma=0.3), device="cpu")
    whole = door.certify(IMAGES, quiet=True)
    assert whole.equals(door.certify(IMAGES.astype(np.float32) / 255, norm="l1", batch_size=40, quiet=True))
    classes, radii = door.certify_arrays(IMAGES, quiet=True)
    assert classes.tolist() == whole["predict"].tolist() and radii.tolist() == whole["radius"].tolist()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": 1000}, "no n to choose"),
        ({"n0": 10, "alpha": 0.001}, "no n0, alpha to choose"),
        ({"norm": "l2"}, "radii in l1, not in l2"),
    ],
)
def test_what_has_no_meaning_is_refused(model, more, message):
    door = SmoothedClassifier(model, DependentSplitting(sigma=0.3), device="cpu")
    with pytest.raises(ValueError, match=message):
        door.certify(IMAGES, quiet=True, **more)
    with pytest.raises(ValueError, match="multiples of 1/255"):
        door.certify(np.full((1, 1, 3, 3), 0.3001, np.float32), quiet=True)


@pytest.mark.parametrize("arithmetic", ["float", "exact"])
def test_independent_splitting_is_certified_in_l1_without_being_asked(model, arithmetic):
    noise = IndependentSplitting(sigma=0.3)
    door = SmoothedClassifier(model, noise, device="cpu")
    options = {"n0": 50, "n": 400, "arithmetic": arithmetic, "quiet": True}
    table = door.certify(IMAGES, **options)
    assert table.equals(door.certify(IMAGES, norm="l1", **options))
    width = 265 / 255 if arithmetic == "exact" else noise.width
    wanted = np.where(table["predict"] >= 0, width * (table["p_lower"] - 0.5), 0)
    np.testing.assert_allclose(table["radius"], wanted, rtol=1e-9, atol=0)
    assert (door.certify(IMAGES, norm="linf", **options)["radius"] <= table["radius"]).all()
    with pytest.raises(ValueError, match="no l2 radius"):
        door.certify(IMAGES, norm="l2", **options)
    with pytest.raises(ValueError, match="no l1 radius"):
        SmoothedClassifier(model, Gaussian(sigma=0.3), device="cpu").certify(IMAGES, norm="l1", **options)
