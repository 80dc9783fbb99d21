"""Stage 2: the planned draws of one shard of the images."""

from certflow.sampling.stage import sample_counts
from certflow.workflow.job import attached, corrupted_of, dataset_of, device_of


def main(job):
    sample_counts(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.input.model,
        plan=job.input.plan,
        counts=job.output.counts,
        shard=job.wildcards.scatteritem,
        device=device_of(job),
        corrupted=corrupted_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
