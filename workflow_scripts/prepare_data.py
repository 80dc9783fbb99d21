"""Read a dataset once, verify it, and write its manifest; beside it, which state of the source files was seen."""

from pathlib import Path

from certflow.data.store import prepare
from certflow.workflow.job import attached, dataset_of


def main(job):
    prepare(dataset_of(job), job.output.manifest)
    Path(job.output.state).write_text(job.params.source, encoding="utf-8")


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
