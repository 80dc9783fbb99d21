"""What an entry point must not import: a torch start costs seconds on every job, torchvision and timm seconds more."""

import importlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from certflow.kinds.registry import lazy

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "timm", "matplotlib", "scipy.stats", "sklearn", "flask", "waitress")


def loaded(modules: list[str]) -> dict[str, set[str]]:
    """Which heavy packages are really loaded after importing each of these, one after the other (a lazy module that nobody
    touched is not)."""
    code = (
        "import importlib, json, sys\n"
        "from certflow.kinds.registry import Unloaded\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        f"    found = [n for n in {HEAVY!r} if n in sys.modules and not isinstance(sys.modules[n], Unloaded)]\n"
        "    print(json.dumps(found))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(zip(modules, map(set, map(json.loads, result.stdout.splitlines())), strict=True))


ENTRIES = {
    "": [
        "certflow.config",
        "certflow.workflow.job",
        "certflow.sampling.plan",
        "certflow.sampling.merge",
        "certflow.sampling.merge_predictions",
        "certflow.certify.stage",
        "certflow.report.tables",
        "certflow.doors.cli",
    ],
    "matplotlib": ["certflow.report.stage"],
    "torch": ["certflow.training.stage", "certflow.sampling.stage"],
}
"""The heavy package that entry points may import → those. What they import together holds what each imports alone."""


@pytest.mark.parametrize("allowed", ENTRIES)
def test_entry_points_import_only_what_they_need(allowed):
    for module, found in loaded(ENTRIES[allowed]).items():
        assert found <= {allowed}, module


def test_files_of_denoisers_are_named_without_torch():
    """At every start of Snakemake. Those that are trained here have none."""
    code = (
        "import sys\n"
        "from certflow.config import load\n"
        "from certflow.config.files import merged\n"
        "from certflow.kinds.registry import Unloaded\n"
        "study = load(merged(['config.yaml', 'configs/denoised.yaml']))\n"
        "assert study.denoisers['ddpm-digits'].files() == []\n"
        "assert isinstance(sys.modules['torch'], Unloaded)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_lazy_modules_that_import_each_other_load_whole():
    """Torch, first imported by one of them, looks at every module's file; that must not run the code of the other."""
    code = (
        "from certflow.kinds.registry import Unloaded, lazy\n"
        "import sys\n"
        "philox, steps = lazy('certflow.noise.philox'), lazy('certflow.noise.steps')\n"
        "assert steps.__file__.endswith('steps.py') and isinstance(steps, Unloaded)\n"
        "philox.ROUNDS\n"
        "assert not isinstance(philox, Unloaded) and steps.philox is philox.philox\n"
        "import torch.nn\n"
        "torch = lazy('torch')\n"
        "assert torch is sys.modules['torch'] and torch.nn.Module\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_lazy_package_runs_before_its_submodules():
    code = (
        "from certflow.kinds.registry import Unloaded, lazy\n"
        "scipy = lazy('scipy')\n"
        "assert isinstance(scipy, Unloaded)\n"
        "import scipy.special\n"
        "assert not isinstance(scipy, Unloaded) and scipy.special.ndtri(0.5) == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_threads_wait_for_a_lazy_module_that_another_one_loads(tmp_path, monkeypatch):
    """Such as two that draw noise for the first time at once."""
    (tmp_path / "lazy_gate.py").write_text("import threading\nbegun, go = threading.Event(), threading.Event()\n")
    (tmp_path / "lazy_slow.py").write_text(
        "import lazy_gate\nlazy_gate.begun.set()\nlazy_gate.go.wait(60)\nVALUE = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    slow, gate = lazy("lazy_slow"), importlib.import_module("lazy_gate")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: slow.VALUE)
        gate.begun.wait(60)
        second = pool.submit(lambda: slow.VALUE)
        early = wait([second], 0.2).done
        gate.go.set()
        assert not early and first.result() == second.result() == 1


def test_a_lazy_module_that_asks_itself_for_what_it_has_not_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "lazy_self.py").write_text("import sys\nHAS = hasattr(sys.modules[__name__], 'LATER')\nLATER = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert lazy("lazy_self").HAS is False and lazy("lazy_self").LATER == 1


def test_a_lazy_module_that_failed_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "lazy_failing.py").write_text("import lazy_missing\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    failing = lazy("lazy_failing")
    with pytest.raises(ModuleNotFoundError, match="lazy_missing"):
        _ = failing.VALUE
    (tmp_path / "lazy_missing.py").touch()
    importlib.invalidate_caches()
    assert failing.VALUE == 1
