"""Several processes training together: the steps of one process, up to the order of summation; one error ends all."""

import pickle
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from denoising_examples import composed
from training_examples import Telling, network, patterns, timeless, weights

from certflow.denoising.composed import DenoiseThenClassify
from certflow.errors import ArtefactError, ConfigError, DataError, UnsuitableError
from certflow.noise import Gaussian as GaussianNoise
from certflow.sampling.settings import exact_arithmetic
from certflow.training import train
from certflow.training.kinds.ftcadis import FtCadis
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.kinds.macer import Macer
from certflow.training.parallel import run_parallel
from certflow.training.ranks import ALONE, Ranks

NOISE = GaussianNoise(sigma=0.25)
COMMON = {"epochs": 2, "lr": 0.05, "lr_step": 1, "lr_drop_offset": 0}
METHODS = {
    "gaussian": Gaussian(batch=41, noises=2, **COMMON),  # 41, 41 and 14 of 96 images: shares of unequal size
    "parts": Gaussian(batch=41, noises=2, micro_batch=6, **COMMON),
    "telling": Telling(batch=41, **COMMON),
    "macer": Macer(batch=30, noises=4, **COMMON),
    "ftcadis": FtCadis(start="pair", batch=41, noises=2, steps=1, schedule="step", update="sgd", **COMMON),
}


class Stop(Exception):
    """Ends a training in the middle."""


class Halting(Gaussian):
    """Gaussian training whose third step fails."""

    steps: ClassVar[list[int]] = []

    def step(self, batch):
        self.steps.append(1)
        if len(self.steps) == 3:
            raise Stop
        return super().step(batch)


def plain(seed: int = 0) -> torch.nn.Module:
    """A network whose rows do not look at each other: no batch normalisation, no dropout."""
    torch.manual_seed(seed)
    layers = (torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 10))
    return torch.nn.Sequential(*layers)


def tuned() -> torch.nn.Module:
    """The same behind a frozen denoiser with batch normalisation."""
    return DenoiseThenClassify(composed().denoiser, plain(), learns="classifier")


class Constants(torch.nn.Module):
    """Hands on its input; its buffers are numbers that no pass changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4914, 0.485, 0.1307, 1 / 3]))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("index", torch.tensor([2**24 + 1]))

    def forward(self, x):
        return x


MODELS = {"ftcadis": tuned}


def model_of(name: str) -> torch.nn.Module:
    """The fresh network that the method of this name trains."""
    return MODELS.get(name, plain)()


def run(method, model, **options):
    result = train(method, model, *patterns(), noise=NOISE, seed=3, quiet=True, **options)
    return weights(model), timeless(result.rows), result.notes


def work(ranks: Ranks, device: torch.device, folder: Path) -> None:
    """All trainings of this file, as one of several processes; what came out goes to a file of its own."""
    exact_arithmetic()
    found = {name: run(method, model_of(name), ranks=ranks, device=device) for name, method in METHODS.items()}
    method, seen = METHODS["gaussian"], []
    found["normalised"] = run(method, network(), ranks=ranks, device=device, log=seen.append)
    found["logged"] = len(seen)
    uneven = Gaussian(batch=19, **COMMON)  # shares of 9 and 10 images, and in the end of none and of one
    found["constant"] = run(uneven, torch.nn.Sequential(Constants(), plain()), ranks=ranks, device=device)
    resume = {"ranks": ranks, "device": device, "resume": folder / "resume", "digest": "d", "checkpoint_seconds": 0.0}
    try:
        run(Halting(**method.model_dump(exclude={"kind"})), network(), **resume)
    except Stop:
        torch.distributed.barrier()  # as when all of them died: the state is stored before anybody looks for it
        found["resumed"] = run(method, network(), **resume)
    found["ended"] = ended(ranks, network(), resume)
    found["apart"] = apart(ranks, network(), resume)
    torch.save(found, folder / f"{ranks.rank}.pt")


def ended(ranks: Ranks, model: torch.nn.Module, resume: dict) -> tuple:
    """What comes of a run without an epoch left, of which one process is late, and the first one removes the state."""
    time.sleep(ranks.rank)
    result = run(METHODS["gaussian"], model, **resume)
    if ranks.writes:
        resume["resume"].unlink()
    return result


def apart(ranks: Ranks, model: torch.nn.Module, resume: dict) -> str:
    """What is said where each process has a state of its own."""
    place = resume["resume"].with_name(f"resume{ranks.rank}")
    if ranks.writes:
        run(METHODS["gaussian"], model, **{**resume, "ranks": ALONE, "resume": place})
    with pytest.raises(ArtefactError) as caught:
        run(METHODS["gaussian"], model, **{**resume, "resume": place})
    return str(caught.value)


TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, TWO_GPUS])])
def kind(request) -> str:
    """On two processors, or on two GPUs."""
    return request.param


@pytest.fixture(scope="module")
def found(kind, tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("parallel")
    run_parallel(work, ["cpu", "cpu"] if kind == "cpu" else ["cuda:0", "cuda:1"], {"folder": folder})
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def values(state: dict[str, bytes]) -> np.ndarray:
    return np.concatenate([np.frombuffer(content, np.float32) for content in state.values()])


def numbers(row: dict) -> dict:
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_make_the_steps_of_one(found, name, kind):
    exact_arithmetic()
    ours, rows, notes = found[0][name]
    theirs, reference, _ = run(METHODS[name], model_of(name), device=kind)
    np.testing.assert_allclose(values(ours), values(theirs), rtol=1e-4, atol=1e-6)
    way, apart = values(theirs) - values(weights(model_of(name))), values(ours) - values(theirs)
    assert np.linalg.norm(way) > 1000 * np.linalg.norm(apart)
    for row, wanted in zip(rows, reference, strict=True):
        assert numbers(row) == pytest.approx(numbers(wanted), rel=1e-4)
        assert row.keys() == wanted.keys()
        assert (row["lr"], row["test_accuracy"]) == (wanted["lr"], wanted["test_accuracy"])
    assert notes["processes"] == 2


def test_what_is_frozen_keeps_its_bits(found):
    before, (after, _, _) = weights(tuned()), found[0]["ftcadis"]
    frozen = [name for name in before if name.startswith("denoiser.")]
    assert any("running_mean" in name for name in frozen)
    assert [name for name in frozen if before[name] != after[name]] == []


def test_numbers_that_no_pass_changes_keep_their_bits(found):
    for part in found:
        after, _, _ = part["constant"]
        assert {name: after[f"0.{name}"] for name in ("mean", "mask", "index")} == weights(Constants())


def test_all_processes_hold_the_same_network_running_averages_included(found):
    assert found[0]["normalised"][:2] == found[1]["normalised"][:2]
    assert any("running_mean" in name for name in found[0]["normalised"][0])


def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(found):
    assert found[0]["resumed"][:2] == found[0]["normalised"][:2]
    assert found[0]["resumed"][2]["resumed"] == [0, 2]


def test_a_process_that_is_late_finds_the_state_of_a_run_that_had_ended(found):
    assert [part["ended"][:2] for part in found] == [part["normalised"][:2] for part in found]
    assert [part["ended"][2]["resumed"] for part in found] == [[2, 0], [2, 0]]


def test_processes_that_found_different_states_do_not_go_on(found):
    for part in found:
        assert "process 0 resumed in epoch 2 after 0 batches; process 1 began" in part["apart"]


def test_one_process_alone_writes(found):
    assert [part["logged"] for part in found] == [2, 0]


@pytest.mark.parametrize(("images", "world"), [(10, 3), (2, 3), (0, 2), (7, 1), (256, 8)])
def test_shares_are_disjoint_complete_and_even(images, world):
    shares = [Ranks(rank, world).share(images) for rank in range(world)]
    assert [i for share in shares for i in range(images)[share]] == list(range(images))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_rows_are_the_shares_of_each_piece():
    assert Ranks(1, 2).rows([slice(0, 3), slice(3, 6)]).tolist() == [1, 2, 4, 5]
    assert Ranks(0, 2).rows([]).tolist() == []


def failing(ranks: Ranks, device: torch.device) -> None:
    if ranks.rank == 1:
        raise ConfigError(["epochs: are 0", "lr: is negative"], "mine.yaml")
    torch.distributed.barrier()


def test_an_error_in_one_process_ends_all_and_is_raised_as_what_it_is():
    with pytest.raises(ConfigError) as caught:
        run_parallel(failing, ["cpu", "cpu"], {})
    assert (
        str(caught.value) == "2 problems in the configuration\n  mine.yaml: epochs: are 0\n  mine.yaml: lr: is negative"
    )


@pytest.mark.parametrize("error", [DataError("image 7 is broken"), ConfigError(["lr: is negative"], "mine.yaml")])
def test_an_error_is_the_same_in_another_process(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_what_cannot_be_shared_is_refused():
    class Whole(Gaussian):
        parallel: ClassVar[bool] = False

    with pytest.raises(UnsuitableError, match="does not train in several processes"):
        run(Whole(), plain(), ranks=Ranks(0, 2))
    with pytest.raises(UnsuitableError, match="8 processes cannot share 4 images"):
        run(Gaussian(batch=4), plain(), ranks=Ranks(0, 8))
