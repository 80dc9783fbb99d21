"""Stage 1: a few draws per image, to choose the class and the budget."""

from certflow.sampling.stage import presample_counts
from certflow.workflow.job import attached, corrupted_of, dataset_of, device_of


def main(job):
    presample_counts(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.input.model,
        counts=job.output.counts,
        device=device_of(job),
        corrupted=corrupted_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
