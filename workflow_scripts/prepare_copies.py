"""Read or compute the corrupted copies of a dataset's test images, and write their manifest."""

from certflow.data.corruptions.store import prepare_corrupted
from certflow.workflow.job import attached, corruption_of, dataset_of


def main(job):
    prepare_corrupted(
        corruption_of(job, job.wildcards.corruptions),
        job.wildcards.corruption,
        dataset_of(job),
        clean_manifest=job.input.data,
        manifest=job.output.manifest,
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
