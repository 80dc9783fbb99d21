"""A run that was stopped, at any moment and in any way, ends with the bits of one that was not."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from training_examples import Stuck, network, patterns, timeless, weights

from certflow.errors import ArtefactError, BusyError, UnreadableError
from certflow.files import tensorheader
from certflow.files.artefact import read_provenance
from certflow.files.lock import exclusive
from certflow.files.provenance import Provenance
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.checkpoint import changing_state, resting_state
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.log import LogFile

RECIPE = {"epochs": 4, "batch": 32, "lr": 0.05, "lr_step": 1}
CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_training_resume import run
from training_examples import Stuck
resume = Path(sys.argv[3])
run(resume, Stuck, log=lambda row: resume.with_name("modules").write_text(" ".join(sys.modules)))
"""


def run(resume: Path | None, kind=Gaussian, model=None, digest="a" * 64, **options):
    torch.set_num_threads(1)
    model = model or network()
    result = train(
        kind(**RECIPE),
        model,
        *patterns(),
        noise=GaussianNoise(sigma=0.25),
        seed=3,
        resume=resume,
        digest=digest,
        quiet=True,
        **{"checkpoint_seconds": 0.0, **options},
    )
    return model, result


@pytest.fixture(scope="module")
def whole():
    """Weights and log of the uninterrupted run."""
    model, result = run(None)
    return weights(model), timeless(result.rows)


def position(resume: Path) -> tuple[int, int]:
    """(epoch, batch) of a resume file, (-1, -1) where there is none yet."""
    try:
        with safe_open(resume, framework="pt") as file:
            found = json.loads(file.metadata()["certflow"])["facts"]["position"]
    except (FileNotFoundError, SafetensorError):
        return -1, -1
    return found["epoch"], found["batch"]


class Stop(Exception):
    pass


def stopping(step: int) -> type[Gaussian]:
    """Gaussian training that fails before optimiser step `step` (0-based) of this process."""

    class Stopping(Gaussian):
        def step(self, batch):
            done.append(batch)
            if len(done) > step:
                raise Stop
            return super().step(batch)

    done = []
    return Stopping


@pytest.mark.parametrize("step", [0, 1, 3, 4, 11])
def test_stopped_and_resumed_run_equals_the_uninterrupted_one(tmp_path, whole, step, capsys):
    """Three batches per epoch: stopped before, within, at the end of an epoch, and before the last step."""
    resume = tmp_path / "resume.safetensors"
    with pytest.raises(Stop):
        run(resume, stopping(step))
    model, result = run(resume)
    assert (weights(model), timeless(result.rows)) == whole
    assert result.notes["resumed"] == (None if step == 0 else list(divmod(step, 3)))
    assert ("resumed in epoch" in capsys.readouterr().err) == (step > 0)


def test_run_stopped_in_the_evaluation_does_not_train_the_epoch_again(tmp_path, whole):
    resume, model = tmp_path / "resume.safetensors", network()

    def fail_in_epoch_two(module, *_):
        if not module.training and position(resume) >= (2, 0):
            raise Stop

    hook = model.register_forward_pre_hook(fail_in_epoch_two)
    with pytest.raises(Stop):
        run(resume, model=model)
    hook.remove()
    assert position(resume) == (2, 3)
    model, result = run(resume)
    assert (weights(model), timeless(result.rows)) == whole


def test_rare_states_lose_work_but_not_bits(tmp_path, whole):
    resume = tmp_path / "resume.safetensors"
    with pytest.raises(Stop):
        run(resume, stopping(5), checkpoint_seconds=3600.0)
    model, result = run(resume, checkpoint_seconds=3600.0)
    assert (weights(model), timeless(result.rows)) == whole


@pytest.fixture(scope="module")
def killed(tmp_path_factory, root) -> Path:
    """The resume file that a process left behind when it was killed after 7 of 12 batches."""
    resume = tmp_path_factory.mktemp("killed") / "resume.safetensors"
    arguments = [sys.executable, "-c", CHILD, root, Path(__file__).parent, resume]
    child = subprocess.Popen(arguments, cwd=resume.parent)
    try:
        while position(resume) < (2, 1):
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    return resume


def test_killed_process_leaves_a_state_to_resume(killed, tmp_path, whole):
    assert position(killed) == (2, 1)
    resume = tmp_path / killed.name
    resume.write_bytes(killed.read_bytes())
    model, result = run(resume)
    assert result.notes["resumed"] >= [2, 1]
    assert (weights(model), timeless(result.rows)) == whole


def test_training_imports_no_compiler_and_no_image_library(killed):
    loaded = set(killed.with_name("modules").read_text().split())
    assert "torch" in loaded
    assert not loaded & {"torch._dynamo", "sympy", "torchvision", "timm", "scipy", "pandas"}


def test_finished_run_is_not_trained_again(tmp_path, whole):
    resume = tmp_path / "resume.safetensors"
    run(resume)
    model, result = run(resume, stopping(0), network(seed=99))
    assert (weights(model), timeless(result.rows)) == whole


def test_finished_run_writes_its_log_again(tmp_path):
    """A kill between the last state and the model: the workflow has removed the log before it starts the job anew."""
    resume, log = tmp_path / "resume.pt", tmp_path / "training.tsv"
    record = Provenance("training log", {"seed": 3})
    run(resume, log=LogFile(log, record))
    written = log.read_bytes()
    log.unlink()
    run(resume, stopping(0), log=LogFile(log, record))
    assert log.read_bytes() == written and read_provenance(log) == record
    assert len(written.splitlines()) == 1 + RECIPE["epochs"]
    with pytest.raises(ArtefactError, match="differs from what was written"):
        log.write_bytes(written[:-20])
        read_provenance(log)


def test_what_another_node_left_of_a_state_is_removed(tmp_path):
    (tmp_path / "resume.pt.another-node.7.part").write_bytes(b"half a fi")
    run(tmp_path / "resume.pt")
    assert not list(tmp_path.glob("*.part"))


def test_without_locks_what_another_node_may_be_writing_stays(tmp_path, no_locks):
    other = tmp_path / "resume.pt.another-node.7.part"
    other.write_bytes(b"half a fi")
    run(tmp_path / "resume.pt")
    assert list(tmp_path.glob("*.part")) == [other]


@pytest.mark.parametrize("case", ["digest", "truncated", "garbage", "network"])
def test_state_that_does_not_fit_is_left_aside_with_a_reason(tmp_path, whole, case, capsys):
    resume = tmp_path / "resume.safetensors"
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.raises(Stop):
        run(resume, stopping(7), other if case == "network" else None, "b" * 64 if case == "digest" else "a" * 64)
    if case == "truncated":
        resume.write_bytes(resume.read_bytes()[:-100])
    elif case == "garbage":
        resume.write_bytes(b"nothing to see here")
    model, result = run(resume)
    assert (weights(model), timeless(result.rows)) == whole
    message = {"digest": "another specification", "network": "another network"}.get(case, "is damaged")
    assert f"{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "could not be read .*may be whole"),
        (MemoryError(), "needs more memory than there is; it may be whole, so keep it"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "needs more memory than there is; it may be whole",
        ),
    ],
    ids=["disk", "memory", "torch's memory"],
)
def test_a_state_that_cannot_be_read_now_is_kept(tmp_path, whole, monkeypatch, error, says):
    """Starting afresh would write over hours of work that a disk, a network or a machine did not give out for a moment."""
    resume = tmp_path / "resume.safetensors"
    with pytest.raises(Stop):
        run(resume, stopping(7))
    before = resume.read_bytes()

    def failing(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tensorheader, "opened", failing)
        with pytest.raises(UnreadableError, match=rf"resume\.safetensors: {says}"):
            run(resume)
    assert resume.read_bytes() == before
    model, result = run(resume)
    assert (weights(model), timeless(result.rows)) == whole


def test_second_run_on_the_same_state_is_refused(tmp_path):
    resume = tmp_path / "deep" / "resume.safetensors"
    with exclusive(resume, "training"):
        with pytest.raises(BusyError, match="training is under way by process"):
            run(resume)


def test_full_disk_keeps_the_older_state_and_says_so(tmp_path, whole):
    resume = tmp_path / "resume.safetensors"
    with pytest.raises(Stop):
        run(resume, stopping(4))
    before = resume.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(ArtefactError, match=f"resume.safetensors: could not be written .*{os_text()}"):
            run(resume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert resume.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {resume.name, f"{resume.name}.attempts"}
    assert (weights(run(resume)[0]), timeless(run(resume)[1].rows)) == whole


def os_text() -> str:
    return os.strerror(errno.EFBIG)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resumed_run_on_a_gpu_equals_the_uninterrupted_one(tmp_path):
    resume = tmp_path / "resume.safetensors"
    model, result = run(None, device="cuda")
    with pytest.raises(Stop):
        run(resume, stopping(4), device="cuda")
    again, rows = run(resume, device="cuda")
    assert (weights(again), timeless(rows.rows)) == (weights(model), timeless(result.rows))


def test_slow_training_is_gaussian_training():
    assert Stuck(**RECIPE).canonical() == Gaussian(**RECIPE).canonical()


class Halves(torch.nn.Module):
    """A frozen part in eval mode with statistics of its own, a frozen part in train mode, and one that learns."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.still = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4)).requires_grad_(False)
        self.counting = torch.nn.BatchNorm2d(4).requires_grad_(False)
        self.head = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.BatchNorm1d(144, affine=False), torch.nn.Linear(144, 10)
        )

    def train(self, mode=True):
        super().train(mode)
        self.still.eval()
        return self

    def forward(self, x):
        return self.head(self.counting(self.still(x)))


CHANGING = {"counting.running_mean", "counting.running_var", "counting.num_batches_tracked"} | {
    f"head.{name}" for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked", "2.weight", "2.bias")
}


@pytest.mark.parametrize("mode", [True, False])
def test_what_changes_is_what_learns_and_what_counts(mode):
    model = Halves().train(mode)
    assert changing_state(model).keys() == CHANGING
    assert resting_state(model).keys() == model.state_dict().keys() - CHANGING
    assert (model.training, model.head.training, model.still.training) == (mode, mode, False)
    assert changing_state(network()).keys() == network().state_dict().keys() and not resting_state(network())


def test_a_state_holds_what_changes_and_ends_with_the_same_bits(tmp_path):
    resume, whole = tmp_path / "resume.pt", weights(run(None, model=Halves())[0])
    assert any(whole[name] != value for name, value in weights(Halves()).items())
    with pytest.raises(Stop):
        run(resume, stopping(5), Halves())
    with safe_open(resume, framework="pt") as file:
        names = {name.removeprefix("model.") for name in file.keys() if name.startswith("model.")}  # noqa: SIM118
    assert names == CHANGING
    model, result = run(resume, model=Halves())
    assert result.notes["resumed"] == [1, 2] and weights(model) == whole


def test_a_state_that_was_trained_beside_another_frozen_part_is_left_aside(tmp_path, capsys):
    resume, other = tmp_path / "resume.pt", Halves()
    with torch.no_grad():
        other.still[0].weight.mul_(2)
    with pytest.raises(Stop):
        run(resume, stopping(5), other)
    assert run(resume, model=Halves())[1].notes["resumed"] is None
    assert "belongs to another specification" in capsys.readouterr().err


def test_an_average_kept_by_hand_changes():
    from certflow.data.base import DataInfo
    from certflow.kinds.registry import spec_class
    from certflow.training.denoisers.restoration import Restorer

    restorer = Restorer(spec_class("denoiser", "dncnn")(depth=3, width=4).build(DataInfo(10, (1, 8, 8)), 0.5))
    assert changing_state(restorer).keys() == restorer.state_dict().keys()
    holder = torch.nn.ModuleDict({"inner": restorer})
    assert changing_state(holder).keys() == holder.state_dict().keys()
