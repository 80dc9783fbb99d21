"""One experiment's table of corrupted copies: LaTeX, Markdown and tab-separated text."""

from certflow.report.corruptions import write_corruptions
from certflow.workflow.job import attached


def main(job):
    write_corruptions(
        job.params.spec,
        list(job.input.certificates),
        list(job.input.copies),
        [job.output.tex, job.output.md, job.output.tsv],
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
