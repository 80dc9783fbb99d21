"""Put the shards together; the result is the same for any number of them."""

from certflow.sampling.merge import merge_counts
from certflow.workflow.job import attached


def main(job):
    merge_counts(job.params.spec, shards=list(job.input.shards), plan=job.input.plan, counts=job.output.counts)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
