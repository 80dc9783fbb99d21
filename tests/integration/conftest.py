"""One run of the tiny experiment for all tests of the workflow."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A working directory in which the tiny experiment has been run: a copy for each process of the suite, of one run."""
    from test_workflow import REPORT, snakemake

    own = tmp_path_factory.getbasetemp()
    all_processes = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    whole = all_processes / "finished"
    with open(all_processes / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            made = tmp_path_factory.mktemp("made")
            assert "(100%) done" in snakemake(made, REPORT)
            made.rename(whole)
    return Path(shutil.copytree(whole, tmp_path_factory.mktemp("work") / "tiny"))
