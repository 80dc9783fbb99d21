"""Votes of a base classifier on one shard of the training images."""

from certflow.sampling.predictions import smooth_predictions
from certflow.workflow.job import attached, dataset_of, device_of


def main(job):
    smooth_predictions(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.input.model,
        counts=job.output.counts,
        shard=job.wildcards.scatteritem,
        device=device_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
