"""Diffusion denoisers: schedules and steps, one-shot denoising, OpenAI's checkpoints, folders of the diffusers library."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from denoising_examples import INFO, classifier
from pydantic import ValidationError
from training_examples import patterns

from certflow.data.base import DataInfo
from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.kinds.diffusion import Diffusion
from certflow.denoising.oneshot import OneShot
from certflow.denoising.schedule import Schedule, alpha_of
from certflow.models.base import Inference
from certflow.noise import noise
from certflow.sampling.classifier import BaseClassifier
from certflow.training import train
from certflow.training.denoisers.ranges import RangeTraining
from certflow.training.denoisers.restoration import Restorer

GOLDEN = [
    ("cosine", 4000, 0.12, 573, 0.1201157, 0.1199094, 0.9454378, 572.439),
    ("cosine", 4000, 0.25, 1158, 0.2501186, 0.2498750, 0.7998482, 1157.513),
    ("cosine", 4000, 0.50, 1984, 0.5003120, 0.4999223, 0.4996881, 1983.199),
    ("cosine", 4000, 1.00, 2809, 1.0000142, 0.9990409, 0.1999955, 2808.985),
    ("linear", 1000, 0.12, 70, 0.1206893, 0.1190401, 0.9449441, 69.584),
    ("linear", 1000, 0.25, 145, 0.2515812, 0.2497135, 0.7979748, 144.154),
    ("linear", 1000, 0.50, 259, 0.5023919, 0.4997553, 0.4976138, 258.093),
    ("linear", 1000, 1.00, 396, 1.0002410, 0.9952350, 0.1999229, 395.952),
    ("cosine", 1000, 0.12, 143, 0.1205284, None, None, 142.361),
    ("cosine", 1000, 0.25, 289, 0.2503623, None, None, 288.629),
    ("cosine", 1000, 0.50, 496, 0.5014831, None, None, 495.050),
    ("cosine", 1000, 1.00, 702, 1.0019654, None, None, 701.496),
]
"""Schedule, steps, sigma → first step with that much noise, its level, the level before, its ā, the time between steps."""


@pytest.mark.parametrize("kind, steps, sigma, step, level, before, alpha, time", GOLDEN)
def test_steps_of_noise_levels(kind, steps, sigma, step, level, before, alpha, time):
    schedule = Schedule(kind, steps)
    assert schedule.step(sigma) == step
    assert schedule.levels[step] == pytest.approx(level, abs=1e-6)
    assert schedule.time(sigma) == pytest.approx(time, abs=2e-3)
    if before is not None:
        assert schedule.levels[step - 1] == pytest.approx(before, abs=1e-6)
        assert schedule.alphas[step] == pytest.approx(alpha, abs=1e-6)


@pytest.mark.parametrize("steps", [1000, 4000])
def test_the_cosine_schedule_has_a_closed_form(steps):
    def g(u):
        return np.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    schedule = Schedule("cosine", steps)
    t = np.flatnonzero(schedule.betas() < 0.999)
    np.testing.assert_allclose(schedule.alphas[t], g((t + 1) / steps) / g(0), rtol=0, atol=1e-12)
    time = steps * (1.008 * (2 / math.pi) * math.acos(math.sqrt(g(0) * alpha_of(0.5))) - 0.008) - 1
    assert schedule.time(0.5) == pytest.approx(time, abs=1e-3)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine"])
def test_levels_rise_and_unreachable_ones_are_refused(kind):
    schedule = Schedule(kind, 1000, *(() if kind == "cosine" else (1e-4, 0.02)))
    assert (np.diff(schedule.levels) > 0).all()
    for sigma in (0.0, -1.0, float("nan"), float(schedule.levels[-1]) * 1.001):
        with pytest.raises(ValueError, match=re.escape(f"up to {schedule.levels[-1]:.4g}, got")):
            schedule.step(sigma)


class Wave(torch.nn.Module):
    """A network of no meaning that depends on image and time."""

    def forward(self, u, time):
        return torch.sin(3 * u + 0.001 * time[:, None, None, None])


class Oracle(torch.nn.Module):
    """Knows the noise, and how it was scaled."""

    def __init__(self, clean, predicts):
        super().__init__()
        self.clean, self.predicts = 2 * clean - 1, predicts

    def forward(self, u, time):
        alpha = torch.as_tensor(np.interp(float(time[0]), np.arange(1000), Schedule("linear", 1000).alphas))
        alpha = alpha.to(torch.float32)
        noise = (u - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean
        return {"epsilon": noise, "sample": self.clean, "v_prediction": velocity}[self.predicts]


def one_shot(network, sigma=0.25, **options):
    options = {"shape": (3, 8, 8), "schedule": Schedule("linear", 1000), **options}
    return OneShot(network, sigma, **options)


@pytest.mark.parametrize("mode", ["exact", "paper"])
def test_one_shot_denoising_is_the_textbook_form(mode):
    torch.manual_seed(0)
    y, denoiser = torch.rand(4, 3, 8, 8) + 0.25 * torch.randn(4, 3, 8, 8), one_shot(Wave(), mode=mode)
    alpha = alpha_of(0.25) if mode == "exact" else Schedule("linear", 1000).alphas[145]
    u = math.sqrt(alpha) * (2 * y.double() - 1)
    epsilon = torch.sin(3 * u + 0.001 * denoiser.time)
    x = (u - math.sqrt(1 - alpha) * epsilon) / math.sqrt(alpha)
    wanted = (x.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(denoiser(y), wanted.float(), rtol=0, atol=1e-6)
    assert denoiser.time == (145 if mode == "paper" else pytest.approx(144.154, abs=1e-3))
    assert one_shot(Wave(), t_rule="ceil").time == 145
    assert one_shot(Wave(), t_rule="ceil", time_scale=0.25).time == 36.25


@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
def test_an_oracle_gives_the_clean_image_back(predicts):
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    denoiser = one_shot(Oracle(x, predicts), mode="paper", prediction=predicts)
    y = x + denoiser.schedule.levels[145] * torch.randn_like(x)
    torch.testing.assert_close(denoiser(y), x, rtol=0, atol=5e-6)


def test_little_noise_changes_little():
    y = torch.randn(2, 3, 8, 8)
    denoiser = one_shot(Wave(), 0.006)
    assert float((denoiser(y) - y.clamp(0, 1)).abs().max()) <= 0.006 + 1e-6


def test_every_row_may_have_its_own_level_in_training():
    torch.manual_seed(0)
    y, free = torch.rand(2, 3, 8, 8), one_shot(Wave(), None)
    fixed = torch.cat([one_shot(Wave(), sigma)(y[i : i + 1]) for i, sigma in enumerate((0.2, 0.9))])
    torch.testing.assert_close(free.at(y, torch.tensor([0.2, 0.9])), fixed, rtol=0, atol=2e-6)
    assert not free.condition_is_frozen


@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
def test_a_perfect_prediction_has_no_training_loss(predicts):
    torch.manual_seed(0)
    x, schedule = torch.rand(2, 3, 8, 8), Schedule("linear", 1000)
    level = torch.full((2,), float(schedule.levels[300]))
    noise_ = level[:, None, None, None] * torch.randn_like(x)
    found, wanted = one_shot(Oracle(x, predicts), None, prediction=predicts).compare(x, noise_, level)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


TOY = Diffusion(widths=(8, 16), attention=(1,), head_dim=8, groups=4, layers=1, steps=1000)


def test_times_between_steps_reach_the_network():
    torch.manual_seed(0)
    network = TOY.build(INFO, 0.5).network.eval()
    u = torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        half, whole = (network(u, torch.tensor([time])) for time in (289.5, 289.0))
    assert float((half - whole).abs().max()) > 1e-6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_diffusion_denoiser_is_sampled_as_any_other(precision):
    torch.manual_seed(0)
    network = DenoiseThenClassify(TOY.build(INFO, 0.5), classifier()).eval()
    ready, x = (
        BaseClassifier(network, Inference(precision=precision), shape=INFO.shape, classes=10),
        torch.rand(8, 1, 8, 8),
    )
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if precision == "float32" else {"rtol": 0.1, "atol": 0.2}
    with torch.inference_mode():
        torch.testing.assert_close(ready.logits(ready.prepare(x)), network(x), **tolerance)
    loose = DenoiseThenClassify(TOY.build(INFO, None), classifier()).eval()
    with pytest.raises(ValueError, match="not one function"):
        BaseClassifier(loose, Inference(precision="float32"), shape=INFO.shape, classes=10)


def test_beside_a_network_that_cannot_be_traced_the_classifier_is_still_fused():
    whole = DenoiseThenClassify(TOY.build(INFO, 0.5), classifier()).eval()
    whole.denoiser.network = Wave()
    whole.denoiser.network.forward = lambda u, time: torch.sin(u) if bool((u > -1e9).all()) else u
    base = BaseClassifier(whole, shape=INFO.shape, classes=10)
    assert base.describe()["folded"] or base.describe()["fused"]


def test_sides_that_are_no_multiples_are_padded():
    torch.manual_seed(0)
    info = DataInfo(classes=10, shape=(1, 7, 6))
    denoiser = Diffusion(widths=(8, 8, 8), attention=(), head_dim=8, groups=4, layers=1).build(info, 0.5)
    y = torch.rand(1, 1, 7, 6)
    with torch.inference_mode():
        found = denoiser(y)
        u = math.sqrt(denoiser.alpha) * (2 * F.pad(y, (0, 2, 0, 1), mode="replicate") - 1)
        epsilon = denoiser.network(u, torch.tensor([denoiser.time]))[:, :, :7, :6]
        torch.testing.assert_close(found, (y - 0.5 * epsilon).clamp(0, 1), rtol=0, atol=1e-6)


def test_a_diffusion_network_learns_from_noise():
    torch.manual_seed(0)
    restorer = Restorer(TOY.build(INFO, None))
    recipe = RangeTraining(
        epochs=5, batch=16, lr=3e-3, schedule="one_cycle", sigma_range=(0.1, 1.0), spacing="log", average=0.9
    )
    data = patterns(train=64, test=16)
    rows = train(recipe, restorer, *data, noise=noise("none"), seed=0, quiet=True).rows
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert rows[-1]["test_loss"] < 0.9 * rows[0]["test_loss"]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"attention": (4,)}, "levels are 0 to 3"),
        ({"prediction": "sample", "train": {"epochs": 1}}, "sigma_range: must start above 0 with prediction sample"),
        ({"widths": (100, 128)}, "multiples of groups=32"),
        ({"widths": (128, 96), "attention": (1,)}, "multiples of head_dim=64"),
        ({"hub": "a/b", "weights": "c"}, "one origin"),
        ({"steps": 20}, "steps: in a linear schedule of 20 steps betas go from 0.005 to 1"),
    ],
)
def test_impossible_networks_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Diffusion(**fields)
