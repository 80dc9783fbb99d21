"""What the README says about adding kinds, done: its files and entries in a copy of the project, whose tests are then green."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certflow.kinds.registry import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEPT = (
    "lib",
    "tests",
    "schemas",
    "docs",
    "configs",
    "rules",
    "profiles",
    "tools",
    "workflow_scripts",
    "benchmarks",
    ".ci",
)
TRIED = (
    "tests/contracts",
    "tests/unit/test_docs.py",
    "tests/unit/test_generated.py",
    "tests/unit/test_training_contract.py",
    "tests/unit/test_training_start.py",
    "tests/unit/test_training_repeated.py",
    "tests/unit/test_cuda_paths.py",
    "tests/unit/test_presets.py",
)
"""The tests that look at every kind there is."""
WHOLE = (
    "test_importing or test_every_family or test_links or test_commands or test_every_page or test_the_file "
    "or test_a_file or test_settings or test_the_reference or test_examples"
)
"""Those of them that look at all kinds at once."""


def section() -> str:
    return (ROOT / "README.md").read_text().partition("\n## Adding a method")[2].partition("\n## ")[0]


def blocks() -> tuple[dict[str, str], list[dict]]:
    """Files (path below `lib` → text) and entries (section → name → settings) that the section shows."""
    files, entries = {}, []
    for language, text in BLOCK.findall(section()):
        if language == "yaml":
            entries.append(yaml.safe_load(text))
        else:
            first, _, rest = text.partition("\n")
            files[re.fullmatch(r"# (certflow/[\w/]+\.py)", first)[1]] = rest
    return files, entries


def test_every_family_is_shown_once():
    files, entries = blocks()
    folders = {str(Path(name).parent).replace("/", ".") for name in files}
    assert set(PACKAGES.values()) <= folders and folders - set(PACKAGES.values()) == {"certflow.noise.radii.kinds"}
    assert len(files) == len(PACKAGES) + 1 and len(entries) == len(PACKAGES)
    assert all(len(entry) == 1 for entry in entries)


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the project with the files and the entries of the README, and no other change."""
    copy = tmp_path_factory.mktemp("extended") / "certflow"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in KEPT:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    (copy / "results").mkdir()
    shutil.copy(ROOT / "results" / "README.md", copy / "results")
    files, entries = blocks()
    for name, text in files.items():
        assert not (copy / "lib" / name).exists(), f"{name} is there already: the README should show another kind"
        (copy / "lib" / name).write_text(text)
    config = (copy / "config.yaml").read_text()
    for entry in entries:
        ((name, settings),) = entry.items()
        config, count = re.subn(rf"(?m)^{name}:\n", lambda m, s=settings: m[0] + indented(s), config)
        assert count == 1, name
    (copy / "config.yaml").write_text(config)
    return copy


def indented(entries: dict) -> str:
    return "".join(
        f"  {name}: {yaml.safe_dump(one, default_flow_style=True).strip()}\n" for name, one in entries.items()
    )


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(folder / "lib")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_entries_are_accepted(extended):
    code = (
        "import yaml; from certflow.config import load\n"
        "study = load(yaml.safe_load(open('config.yaml')))\n"
        "print(study.noises['logistic-0.25'].kind, study.certificates['simple'].sampler, study.models['perceptron'].width)"
    )
    done = python(extended, "-c", code)
    assert done.stdout.split() == ["logistic", "n1000", "128"], done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_suite_is_green_with_one_file_and_one_entry_each(extended):
    """What concerns none but other kinds is left out."""
    new = " or ".join(Path(name).stem for name in blocks()[0])
    done = python(
        extended, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TRIED, "-k", f"{new} or {WHOLE}"
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100
    for name in blocks()[0]:
        assert not (extended / "lib" / name).read_text().startswith("#")


def test_generated_files_take_the_new_kinds_in(extended):
    assert "run `make schema`" in python(extended, "-m", "certflow.config.generated", "--check").stderr
    assert python(extended, "-m", "certflow.config.generated").returncode == 0
    assert python(extended, "-m", "certflow.config.generated", "--check").returncode == 0
    reference = (extended / "docs" / "reference.md").read_text()
    assert "### `smoothed_labels`" in reference and "What goes to all classes alike" in reference
