"""Mini-batches worked on in parts: the gradient of the whole, whatever the size of the parts, the method, the recording."""

import pytest
import torch
from pydantic import ValidationError
from tape import record_steps
from training_examples import TRAINABLE, network, patterns, timeless, weights

from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.batch import Batch
from certflow.training.denoisers.ranges import RangeTraining
from certflow.training.fast import repeated
from certflow.training.gradients import accumulated
from certflow.training.kinds.gaussian import Gaussian

IMAGES = 10


def plain(seed: int = 0) -> torch.nn.Module:
    """A network whose rows do not look at each other."""
    torch.manual_seed(seed)
    layers = (torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 10))
    return torch.nn.Sequential(*layers).double()


def batch(model: torch.nn.Module) -> Batch:
    """Images in float64, so that gradients differ by rounding of that size."""
    generator = torch.Generator().manual_seed(5)
    table = torch.rand(IMAGES, 10, generator=generator, dtype=torch.float64)
    return Double(
        model=model,
        x=torch.rand(IMAGES, 1, 8, 8, generator=generator, dtype=torch.float64),
        y=torch.arange(IMAGES) % 10,
        index=torch.arange(IMAGES),
        noise_spec=GaussianNoise(sigma=0.25),
        seed=2,
        tables={"predictions": table / table.sum(1, keepdim=True)},
    )


class Double(Batch):
    """Draws and logits in float64."""

    def noise(self, m=1):
        return super().noise(m).double()

    def copies(self, m=1):
        return self.x + self.noise(m)

    def forward(self, x):
        return self.model(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def gradients(method, size):
    model = plain().train()
    named = dict(model.named_parameters())

    def step(part):
        model.zero_grad()
        return method.step(part)

    stats = accumulated(step, batch(model).cut(size), named)
    return {name: p.grad.clone() for name, p in named.items()}, stats


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("kind", TRAINABLE)
def test_gradients_and_statistics_are_those_of_the_whole(kind, size):
    """Parts of 3 images leave one of 1: weights by images matter."""
    method = spec_class("method", kind).small()
    wanted, stats = gradients(method, None)
    found, again = gradients(method, size)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)
    assert again.keys() == stats.keys()
    for name, value in stats.items():
        torch.testing.assert_close(again[name].double(), value.double(), rtol=1e-6, atol=1e-9)


def test_parts_are_consecutive_and_hold_every_image():
    whole = batch(plain())
    parts = whole.cut(4)
    assert [len(part.y) for part in parts] == [4, 4, 2]
    for name in ("x", "y", "index"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert whole.cut(None) == [whole] and whole.cut(IMAGES) == [whole]


def run(model=None, **fields):
    model = model or network(dropout=0)
    method = Gaussian(epochs=2, batch=32, lr=0.05, **fields)
    result = train(method, model, *patterns(), noise=GaussianNoise(sigma=0.25), seed=3, quiet=True)
    return model, timeless(result.rows)


def test_the_largest_part_changes_no_bit():
    assert weights(run(micro_batch=32)[0]) == weights(run()[0])


def steady():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 30), torch.nn.Tanh(), torch.nn.Linear(30, 10))


def test_a_training_in_parts_is_the_training():
    (whole, rows), (parts, again) = run(steady()), run(steady(), micro_batch=7)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    for row, other in zip(rows, again, strict=True):
        assert row == pytest.approx(other, rel=1e-4)


def test_recorded_steps_are_accumulated_to_the_same_bits(monkeypatch):
    """A recording leaves its gradients in one place and overwrites them."""
    made = record_steps(monkeypatch, repeated.FEWEST_STEPS)
    model, rows = run(micro_batch=8)
    assert made == []
    monkeypatch.setattr(repeated, "FEWEST_STEPS", 2)
    again, same = run(micro_batch=8)
    assert len(made) == 2
    assert (weights(again), same) == (weights(model), rows)


def test_parts_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="micro_batch must be at most batch, got micro_batch=33 and batch=32"):
        Gaussian(batch=32, micro_batch=33)
    with pytest.raises(ValidationError, match="micro_batch: range needs its batches whole"):
        RangeTraining(micro_batch=2)
