"""The public door, against a classifier whose certified radius is known."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from certflow import SmoothedClassifier
from certflow.certify.double_sampling.radius import gg_np_radius
from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.noise.truncated import Truncated
from certflow.stats import clopper_pearson_lower

SIGMA = 0.25


class HalfSpace(torch.nn.Module):
    """Class 1 where w·x > b; on a point at distance r from the plane, p_A = Phi(r / sigma) and the true radius is r."""

    def __init__(self, dim: int = 16, offset: float = 0.0):
        super().__init__()
        w = torch.linspace(-1, 1, dim) + 0.3
        self.w, self.b = torch.nn.Parameter(w / w.norm()), torch.nn.Parameter(torch.tensor(offset))

    def forward(self, x):
        margin = x.flatten(1) @ self.w - self.b
        return torch.stack([-margin, margin], dim=1)


def at_distances(distances) -> torch.Tensor:
    """Images in [0,1] at given distances from the plane of `plane()` on its positive side."""
    w = HalfSpace().w.detach()
    centre = torch.full((16,), 0.5)
    return torch.stack([centre + d * w for d in distances]).reshape(-1, 1, 4, 4)


def plane() -> HalfSpace:
    return HalfSpace(offset=float(HalfSpace().w.detach().sum() / 2))


def test_a_half_space_is_certified_soundly_and_tightly():
    distances = np.array([0.05, 0.1, 0.2, 0.3, 0.4])
    table = SmoothedClassifier(plane(), Gaussian(sigma=SIGMA)).certify(at_distances(distances), n=20_000, quiet=True)
    assert (table["predict"] == 1).all()
    assert (table["radius"] <= distances).all()
    # Tight: the count is binomial with the known probability, and the radius is a known function of the count.
    lowest = stats.binom.ppf(1e-7, 20_000, special.ndtr(distances / SIGMA))
    assert (table["k"] >= lowest).all()
    expected = SIGMA * special.ndtri(clopper_pearson_lower(table["k"].to_numpy(), 20_000, 0.001))
    np.testing.assert_allclose(table["radius"], expected, rtol=1e-6)


def test_generalised_gaussian_noise_is_certified_by_its_own_radius():
    distances, noise = np.array([0.05, 0.2, 0.4]), GeneralizedGaussian(k=4, sigma=SIGMA)
    table = SmoothedClassifier(plane(), noise).certify(at_distances(distances), n=20_000, quiet=True)
    assert (table["predict"] == 1).all()
    assert (table["radius"] <= distances).all() and (table["radius"] > 0.6 * distances).all()
    expected = gg_np_radius(table["p_lower"], 16, 4, SIGMA)
    np.testing.assert_allclose(table["radius"], expected, rtol=1e-9)
    with pytest.raises(ValueError, match="at most k=7"):
        SmoothedClassifier(plane(), GeneralizedGaussian(k=8, sigma=SIGMA)).certify(at_distances([0.1]), quiet=True)


def test_noise_without_a_certificate_is_refused():
    with pytest.raises(ValueError, match="no l2 radius is known under noise of kind truncated"):
        SmoothedClassifier(plane(), Truncated(k=4, sigma=SIGMA)).certify(at_distances([0.1]), quiet=True)


def test_a_point_on_the_boundary_abstains():
    smoothed = SmoothedClassifier(plane(), Gaussian(sigma=SIGMA))
    table = smoothed.certify(at_distances([0.0]), n=5000, quiet=True)
    assert table["predict"].item() == -1 and table["radius"].item() == 0
    assert smoothed.predict(at_distances([0.0]), n=1000, quiet=True)["predict"].item() == -1


def test_a_model_that_was_changed_between_calls_is_certified_as_it_is_now():
    model, x = plane(), at_distances([0.3])
    smoothed = SmoothedClassifier(model, Gaussian(sigma=SIGMA))
    assert smoothed.certify(x, n=200, quiet=True)["predict"].item() == 1
    with torch.no_grad():
        model.b += 1.0
    assert smoothed.certify(x, n=200, quiet=True)["predict"].item() == 0


def test_prediction_finds_the_smoothed_class():
    table = SmoothedClassifier(plane(), Gaussian(sigma=SIGMA)).predict(at_distances([0.2, 0.4]), n=1000, quiet=True)
    assert table["predict"].tolist() == [1, 1]
    assert (table["radius"] == 0).all() and (table["p_value"] <= 0.001).all()
    assert (table["k"] <= table["n"]).all()


def test_results_do_not_depend_on_batch_or_company():
    smoothed, x = SmoothedClassifier(plane(), Gaussian(sigma=SIGMA)), at_distances([0.1, 0.2, 0.3])
    whole = smoothed.certify(x, n=2000, quiet=True)
    alone = smoothed.certify(x[1:2], n=2000, batch_size=32, indices=[1], quiet=True)
    assert alone["k"].item() == whole["k"][1]
    classes, radii = smoothed.certify_arrays(x, n=2000, quiet=True)
    assert classes.tolist() == whole["predict"].tolist() and radii.tolist() == whole["radius"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 9}, "can never certify at alpha=0.001; at least n=10 are needed"),
        ({"n": 0}, "n must be a whole number"),
        ({"n": 10.5}, "n must be a whole number"),
        ({"n": float("inf")}, "n must be a whole number"),
        ({"n": True}, "n must be a whole number"),
        ({"n0": 0}, "n0 must be a whole number"),
        ({"alpha": 0.5}, "alpha must be at least 1e-09 and below 0.5"),
        ({"alpha": "0.001"}, "alpha must be at least 1e-09 and below 0.5"),
        ({"indices": [0.5]}, "indices must be 1 integers"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothedClassifier(plane(), Gaussian(sigma=SIGMA)).certify(at_distances([0.1]), quiet=True, **options)


def test_too_few_votes_to_predict_are_refused():
    with pytest.raises(ValueError, match="can never predict"):
        SmoothedClassifier(plane(), Gaussian(sigma=SIGMA)).predict(at_distances([0.1]), n=10, quiet=True)
