"""What Snakemake was started with is known while the Snakefile is read, and only where jobs are planned."""

import pytest

from certflow.workflow.started import dag_settings

api = pytest.importorskip("snakemake.api")


class Reading(api.DAGApi):
    """Reads a Snakefile where Snakemake does: before the workflow has the settings."""

    def __post_init__(self):
        self.found = (lambda: dag_settings())()


def test_targets_are_those_of_the_run_that_reads_the_snakefile():
    from snakemake.settings.types import DAGSettings

    settings = DAGSettings(targets={"results/tables/tiny.tex"})
    assert Reading(None, None, dag_settings=settings).found is settings


def test_there_are_none_where_no_jobs_are_planned():
    assert dag_settings() is None
