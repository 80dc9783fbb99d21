"""What every training method must do, whatever its loss: one set of tests for all registered kinds."""

import math

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from training_examples import TRAINABLE, digits, timeless, weights

from certflow.data.base import DataInfo
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build
from certflow.models.kinds.small_conv import SmallConv
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import seed_everything, train
from certflow.training.batch import Batch
from certflow.training.log import COLUMNS
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper


class Stop(Exception):
    pass


def run(kind, *, epochs=2, resume=None, stop=None, precision="float32"):
    """Train a small network on 300 digits; with `stop`, fail before that optimiser step."""
    cls = spec_class("method", kind)
    fields = {"batch": 30, "lr": 0.05, "schedule": "one_cycle", **cls.example}
    method = cls.model_validate({**fields, "epochs": epochs, "precision": precision})
    data = digits(train=300, test=200)
    seed_everything(11)
    module = build(SmallConv(), DataInfo(classes=10, shape=(1, 8, 8)))
    if stop is not None:
        count = iter(range(stop + 1))

        def forward(*_):
            if module.training and next(count, None) is None:
                raise Stop

        module.register_forward_pre_hook(forward)
    table = 0.8 * np.eye(10, dtype=np.float32)[data[0].labels] + 0.02
    noise = GaussianNoise(sigma=0.25)
    result = train(
        method,
        module,
        *data,
        noise=noise,
        seed=11,
        resume=resume,
        digest="c" * 64,
        quiet=True,
        tables={name: table for name in method.tables},
        checkpoint_seconds=0.0,
    )
    return module, result


@pytest.fixture(scope="module")
def trained():
    found = {}

    def of(kind):
        if kind not in found:
            found[kind] = run(kind)
        return found[kind]

    return of


@pytest.mark.parametrize("kind", TRAINABLE)
def test_losses_are_numbers_and_the_network_learns(kind, trained):
    _, result = trained(kind)
    assert all(math.isfinite(row["train_loss"]) and math.isfinite(row["test_loss"]) for row in result.rows)
    # By chance 0.1; more than 60 of 200 right by chance has probability 1e-14.
    assert result.rows[-1]["test_accuracy"] > 0.3


@pytest.mark.parametrize("kind", TRAINABLE)
def test_one_seed_gives_one_result(kind, trained):
    first, second = trained(kind), run(kind)
    assert weights(first[0]) == weights(second[0])
    assert timeless(first[1].rows) == timeless(second[1].rows)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_resumed_run_equals_the_uninterrupted_one(kind, trained, tmp_path):
    resume = tmp_path / "resume.pt"
    with pytest.raises(Stop):
        run(kind, resume=resume, stop=13)
    model, result = run(kind, resume=resume)
    assert result.notes["resumed"] is not None
    assert weights(model) == weights(trained(kind)[0])
    assert timeless(result.rows) == timeless(trained(kind)[1].rows)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_bfloat16_training_stays_close_to_float32(kind):
    (wide,), (narrow,) = (run(kind, epochs=1, precision=precision)[1].rows for precision in ("float32", "bfloat16"))
    assert 0 < abs(narrow["train_loss"] - wide["train_loss"]) < 0.1 * wide["train_loss"]


@pytest.mark.parametrize("kind", TRAINABLE)
def test_parameters_are_left_trainable_and_in_use(kind, trained):
    model = trained(kind)[0]
    assert all(p.requires_grad for p in model.parameters())
    seed_everything(11)
    fresh = build(SmallConv(), DataInfo(classes=10, shape=(1, 8, 8)))
    assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize("kind", kinds("method"))
def test_extras_have_names_of_their_own(kind):
    taken = {"objective", "images", "steps", "seconds", *(name.removeprefix("train_") for name in COLUMNS)}
    assert not taken & set(spec_class("method", kind).extras)


READS = {"item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "__bool__", "__int__", "__float__", "__index__"}


class NoReads(TorchFunctionMode):
    """Fails where the host would wait for the device: reading a number, or asking how many entries a mask selects."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = func.__name__
        masked = name == "__getitem__" and any(
            isinstance(part, torch.Tensor) and part.dtype == torch.bool
            for part in (args[1] if isinstance(args[1], tuple) else (args[1],))
        )
        if name in READS or masked:
            raise AssertionError(f"{name} reads from the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.sum() > 0), lambda x: float(x[0])]
)
def test_reads_are_noticed(read):
    with pytest.raises(AssertionError, match="reads from the device"), NoReads():
        read(torch.ones(3))


@pytest.mark.parametrize("kind", TRAINABLE)
def test_steps_do_not_wait_for_the_device(kind, monkeypatch):
    monkeypatch.setattr(Batch, "coin", lambda batch, slot=0: 0.3)  # tossed on the host, and read from no device
    method = spec_class("method", kind).small(epochs=2, batch=8)
    model = build(SmallConv(), DataInfo(classes=10, shape=(1, 8, 8))).train()
    tables = {name: torch.full((8, 10), 0.1) for name in method.tables}
    stepper = Stepper(method, model, noise=GaussianNoise(sigma=0.25), seed=0, batches=1, tables=tables)
    batch = torch.arange(8), torch.rand(8, 1, 8, 8), torch.arange(8)
    with NoReads():
        for epoch in range(2):
            stepper.advance(batch, epoch, 0, Meter(extras=method.extras))
