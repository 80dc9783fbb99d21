"""Read a dataset once, verify it, and write its manifest."""

from certflow.data.store import prepare
from certflow.workflow.job import attached, dataset_of


def main(job):
    prepare(dataset_of(job), job.output.manifest)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
