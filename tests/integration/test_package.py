"""The installed package works from anywhere: engine, C kernel, presets and published numbers come with it."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
DATA = (
    "noise/fast/philox.c",
    "presets/paper.yaml",
    "report/data/published/mnist.csv",
    "report/data/envelopes/denoised.csv",
)
CHECK = """
import certflow
from pathlib import Path
from certflow.noise.fast import native
from certflow.presets import preset_names
from certflow.report.envelopes import known
from certflow.report.published import published
print(Path(certflow.__file__).parent)
numbers = published("mnist", None, "gaussian", "gaussian", "l2", 0.25)
print(native.available(), "paper" in preset_names(), len(numbers) > 0, len(known()) > 0)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what is under version control, and of nothing else: builds leave folders behind."""
    folder = tmp_path_factory.mktemp("source")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def built(source: Path, what: str, into: Path) -> Path:
    """The wheel or sdist of a source folder."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{what}", str(into)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    """The wheel, built from the unpacked sdist: what the one lacks, the other lacks too."""
    folder = tmp_path_factory.mktemp("dist")
    sdist = built(source, "sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return built(folder / sdist.name.removesuffix(".tar.gz"), "wheel", folder)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of an environment with the wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> str:
    # -I: neither the working directory nor PYTHONPATH may help.
    done = subprocess.run([str(python), "-I", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_data_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"certflow/py.typed", *(f"certflow/{name}" for name in DATA)} <= set(names)
    assert not [name for name in names if not name.startswith(("certflow/", "certflow-"))]


def test_kernel_presets_and_published_numbers_are_found_from_another_folder(installed, tmp_path):
    place, found = run(installed, tmp_path, "-c", CHECK).splitlines()
    assert place.startswith(str(installed.parents[1]))
    assert found.split()[1:] == ["True"] * 3
    here = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found == here.splitlines()[1]  # the C kernel, too, where there is a compiler


def test_the_example_of_the_api_page_runs_as_printed_from_another_folder(installed, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "load_digits" in block]  # the others go on from it
    assert example == blocks[0]
    printed = run(installed, tmp_path, "-W", "error", "-c", example)
    assert float(re.search(r"certified accuracy at radius 0.25: ([\d.]+)", printed)[1]) >= 0.5


def test_the_command_tells_its_version(installed, tmp_path):
    from certflow import __version__

    code = "import sys; from certflow.doors.cli import main; sys.exit(main(['--version']))"
    assert run(installed, tmp_path, "-c", code) == f"certflow {__version__}\n"
