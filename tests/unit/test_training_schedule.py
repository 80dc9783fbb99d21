"""Learning rates of every epoch and step, against the schedules that the field's code really runs."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from certflow.training.kinds.gaussian import Gaussian
from certflow.training.schedule import one_cycle


def rates(**fields) -> np.ndarray:
    method = Gaussian(lr=0.1, **fields)
    return np.array([method.learning_rate(epoch, 0, 7) for epoch in range(method.epochs)])


@pytest.mark.parametrize(
    ("epochs", "every", "offset", "lengths"),
    [
        (150, 50, 0, [50, 50, 50]),
        (150, 50, 1, [51, 50, 49]),
        (90, 30, 0, [30, 30, 30]),
        (90, 30, 1, [31, 30, 29]),
    ],
)
def test_step_schedule_drops_on_time_or_one_epoch_late(epochs, every, offset, lengths):
    expected = np.repeat([0.1, 0.01, 0.001], lengths)
    np.testing.assert_allclose(rates(epochs=epochs, lr_step=every, lr_drop_offset=offset), expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_late_drops_are_those_of_a_scheduler_stepped_with_the_epoch_just_finished():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=50, gamma=0.1)
    used = []
    for epoch in range(150):
        used.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(epoch)
    np.testing.assert_allclose(rates(epochs=150, lr_step=50, lr_drop_offset=1), used, rtol=1e-12)


@pytest.mark.parametrize("total", [1, 2, 5, 10, 97, 1000])
def test_one_cycle_rises_over_a_fifth_of_the_run_and_falls_to_one_small_step(total):
    lr = np.array([one_cycle(0.2, step, total) for step in range(total)])
    top = max(1, round(0.2 * total)) - 1
    assert lr.argmax() == top and lr[top] == pytest.approx(0.2, rel=1e-12)
    assert (lr > 0).all()
    for slope in (np.diff(lr[: top + 1]), np.diff(lr[top:])):
        np.testing.assert_allclose(slope, slope[:1].repeat(len(slope)), rtol=1e-9)
    assert lr[-1] == pytest.approx(0.2 / (total - top), rel=1e-12)


def test_one_cycle_counts_steps_across_epochs():
    method = Gaussian(lr=0.2, epochs=3, schedule="one_cycle")
    steps = [method.learning_rate(epoch, step, 4) for epoch in range(3) for step in range(4)]
    assert steps == [one_cycle(0.2, step, 12) for step in range(12)]


def test_cosine_is_torch_s_scheduler_stepped_once_per_epoch():
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=12)
    used = []
    for _ in range(12):
        used.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    np.testing.assert_allclose(rates(epochs=12, schedule="cosine"), used, rtol=1e-12)


def test_cosine_stays_what_it_is_within_an_epoch():
    method = Gaussian(lr=0.1, epochs=4, schedule="cosine")
    np.testing.assert_allclose([method.learning_rate(2, step, 7) for step in range(7)], 0.05, rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"lr": 5e-5, "epochs": 30, "warmup_epochs": 3, "min_lr": 1e-6},
            {0: 0.0, 1.5: 2.5e-5, 3: 5e-5, 10: 4.2312920e-5, 16.5: 2.55e-5, 29.99: 1.0000166e-6},
        ),
        ({"lr": 2e-4, "epochs": 10, "warmup_epochs": 1, "min_lr": 1e-6}, {0.5: 1e-4, 5.5: 1.005e-4}),
        ({"lr": 1.0, "epochs": 2}, {0: 1.0, 0.5: 0.8535534, 1: 0.5}),
    ],
)
def test_cosine_with_warm_up_counts_steps(fields, expected):
    method = Gaussian(schedule="cosine_warmup", **fields)
    steps = 100
    found = [method.learning_rate(int(at), round(at % 1 * steps), steps) for at in expected]
    assert found == pytest.approx(list(expected.values()), rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "cosine_warmup", "warmup_epochs": 5, "epochs": 5}, "warmup_epochs must be below epochs"),
        ({"schedule": "cosine_warmup", "min_lr": 0.2}, "min_lr must be at most lr"),
    ],
)
def test_settings_of_a_schedule_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Gaussian(lr=0.1, **fields)
