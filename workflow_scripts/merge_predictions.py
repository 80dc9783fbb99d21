"""Put the shards of smoothed predictions together; the result is the same for any number of them."""

from certflow.sampling.merge_predictions import merge_predictions
from certflow.workflow.job import attached


def main(job):
    merge_predictions(job.params.spec, shards=list(job.input.shards), predictions=job.output.predictions)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
