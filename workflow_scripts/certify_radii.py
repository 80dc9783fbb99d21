"""Radii of all images from their class counts."""

from lib.certify.stage import certify_radii
from lib.workflow.job import attached


def main(job):
    certify_radii(job.params.spec, plan=job.input.plan, counts=job.input.counts, table=job.output.table)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
