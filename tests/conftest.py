"""Shared by all tests: pinned threads, and the optional folder of real images and published numbers."""

import errno
import fcntl
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
if not os.environ.get("TEST_GPU"):  # `make test-gpu` sets it; all other tests are the same on a machine with a GPU
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from typechecking import CHECKED

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Processes that tests start import this tree, whatever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "lib"), os.environ.get("PYTHONPATH")]))

# Before any of them is imported. Processes that tests start are not checked.
install_import_hook(CHECKED, "typechecking.checked")

# No deadline: how long an example takes depends on what else the machine does. Derandomised: a red test is red again.
settings.register_profile("certflow", deadline=None, derandomize=True)
settings.load_profile("certflow")


@pytest.fixture(scope="session", autouse=True)
def cpu_flags():
    """With `TEST_CPU_FLAGS` (such as `avx512_bf16`, or empty) in the environment: the flags that the CPU seems to have."""
    flags = os.environ.get("TEST_CPU_FLAGS")
    with pytest.MonkeyPatch.context() as patch:
        if flags is not None:
            patch.setattr("certflow.sampling.precision.cpu_flags", lambda path="": frozenset(flags.split()))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def flock(handle, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture
def pipe_and_folder(tmp_path, monkeypatch) -> Path:
    """A working folder with `pipe` and `folder` in it: names that no file has."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkdir("folder")
    return tmp_path


@pytest.fixture(scope="session")
def shared():
    """`shared("data/mnist")`: that path in the folder of reference material, or a skip that says what is missing."""

    def find(relative: str) -> Path:
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"reference material {relative} is not at {path}")
        return path

    return find
