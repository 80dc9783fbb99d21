"""What the engine sets for the whole process is given back as it was found."""

import random
import threading

import numpy as np
import pytest
import torch

from certflow import SmoothedClassifier
from certflow.machine import memory
from certflow.machine.memory import freed_memory_is_kept, keep_freed_memory, restore_default
from certflow.models.base import Inference
from certflow.noise import Gaussian
from certflow.sampling.settings import OPERATIONS, PARENTS, compiler_settings, engine_settings

LEVELS = (*PARENTS, *OPERATIONS)


def told(ask):
    """What torch says, or that it refuses to."""
    try:
        return ask()
    except RuntimeError:
        return "refused"


def state() -> dict:
    """All that can be read, also with the more general settings out of the way, which hide the others."""
    found = {level: torch._C._get_fp32_precision_getter(*level) for level in LEVELS}
    parents = {level: found[level] for level in PARENTS}
    for level in PARENTS:
        parents[level] = torch._C._get_fp32_precision_getter(*level)
        torch._C._set_fp32_precision_setter(*level, "none")
    found["own"] = [torch._C._get_fp32_precision_getter(*level) for level in OPERATIONS]
    for level in PARENTS:
        torch._C._set_fp32_precision_setter(*level, parents[level])
    return found | {
        "matmul": told(torch.get_float32_matmul_precision),
        "cudnn": told(lambda: torch.backends.cudnn.allow_tf32),
        "cublas": told(lambda: torch.backends.cuda.matmul.allow_tf32),
        "benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.backends.cudnn.deterministic,
        "dtype": torch.get_default_dtype(),
        "memory": freed_memory_is_kept(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


def change(choose: random.Random) -> None:
    """Set something at random, by either of torch's two ways."""
    ways = [
        lambda: torch.set_float32_matmul_precision(choose.choice(["highest", "high", "medium"])),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", choose.choice([True, False])),
        lambda: setattr(torch.backends.cudnn, "benchmark", choose.choice([True, False])),
        lambda: setattr(torch.backends.cudnn, "deterministic", choose.choice([True, False])),
        lambda: torch._C._set_fp32_precision_setter(*choose.choice(LEVELS), choose.choice(["none", "ieee", "tf32"])),
    ]
    choose.choice(ways)()


@pytest.fixture(autouse=True)
def _put_back():
    with engine_settings():
        pass
    yield
    for level in LEVELS:
        torch._C._set_fp32_precision_setter(*level, "none")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False
    torch.set_default_dtype(torch.float32)


def test_whatever_was_set_is_put_back_also_after_errors():
    choose = random.Random(0)
    for _ in range(300):
        change(choose)
        before = state()
        with pytest.raises(KeyError), engine_settings(), engine_settings():
            assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
            assert all(torch._C._get_fp32_precision_getter(*level) == "ieee" for level in OPERATIONS)
            assert torch.get_float32_matmul_precision() == "highest" and torch.backends.cudnn.allow_tf32 is False
            raise KeyError
        assert state() == before


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))


@pytest.mark.parametrize("fails", [False, True])
def test_certifying_leaves_the_callers_settings(fails):
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    torch.set_default_dtype(torch.float64)
    before = state()
    images = np.full((1, 1, 4, 4), 2.0 if fails else 0.5)
    try:
        SmoothedClassifier(net(), Gaussian(sigma=0.25)).certify(images, n0=10, n=20, quiet=True)
        assert not fails
    except ValueError as error:
        assert fails and "outside" in str(error)
    assert state() == before


def test_a_callers_mixed_precision_does_not_reach_the_certified_function():
    smoothed, x = SmoothedClassifier(net(), Gaussian(sigma=0.25)), np.random.default_rng(0).random((4, 1, 4, 4))
    plain = smoothed.certify(x, n=500, quiet=True)
    seen = []
    model = net()
    model[1].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = SmoothedClassifier(model, Gaussian(sigma=0.25)).certify(x, n=500, quiet=True)
        assert torch.is_autocast_enabled("cpu")
    assert plain.equals(mixed) and set(seen) == {torch.float32}


def test_the_last_of_several_threads_gives_back():
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with engine_settings():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    with engine_settings():
        pass
    assert torch.get_float32_matmul_precision() == "highest"
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "medium"


def test_memory_that_was_kept_before_is_kept_after():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    with engine_settings():
        pass
    assert freed_memory_is_kept()
    restore_default()
    with engine_settings():
        assert freed_memory_is_kept()
    assert not freed_memory_is_kept()


def test_an_allocator_that_somebody_has_set_is_left_alone(monkeypatch):
    restore_default()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    monkeypatch.setattr(memory, "restore_default", None)
    with engine_settings():
        assert not freed_memory_is_kept()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_compilers_settings_are_given_back(device):
    from torch._inductor import config

    before = config.freezing, config.deterministic
    with compiler_settings[device]():
        assert (config.freezing, config.deterministic) == (device == "cpu", device == "cuda")
    assert (config.freezing, config.deterministic) == before


def test_the_table_says_in_which_precision():
    table = SmoothedClassifier(net(), Gaussian(sigma=0.25), inference=Inference(precision="bfloat16")).certify(
        np.full((1, 1, 4, 4), 0.5), n=100, quiet=True
    )
    assert table.attrs["precision"] == "bfloat16" and table.attrs["dropped"] == "none"
