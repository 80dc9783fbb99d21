"""Fix class and number of draws of every image, before any draw that is certified is made."""

from certflow.sampling.plan import write_plan
from certflow.workflow.job import attached


def main(job):
    write_plan(job.params.spec, counts=job.input.counts, plan=job.output.plan)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
