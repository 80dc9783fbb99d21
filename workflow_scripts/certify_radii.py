"""Radii of all images from their class counts."""

from certflow.certify.stage import certify_radii
from certflow.workflow.job import attached


def main(job):
    certify_radii(job.params.spec, plan=job.input.plan, counts=job.input.counts, table=job.output.table)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
