"""Benchmarks are run by hand: what they import from the package, and from each other, must be there at any time."""

import importlib
import os
import sys
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # set by them, taken back afterwards
    assert importlib.import_module(f"benchmarks.{name}").__doc__
