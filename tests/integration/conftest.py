"""One run of the tiny experiment for all tests of the workflow."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A working directory in which the tiny experiment has been run."""
    from test_workflow import REPORT, snakemake

    folder = tmp_path_factory.mktemp("work")
    output = snakemake(folder, REPORT)
    assert "(100%) done" in output
    return folder
