"""Write an experiment's table."""

from certflow.report.stage import write_table
from certflow.workflow.job import attached


def main(job):
    paths = [job.output.tex, job.output.md, job.output.tsv]
    write_table(job.params.spec, list(job.input.certificates), paths, list(job.input.attacks))


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
