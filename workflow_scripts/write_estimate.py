"""Write the estimate of an experiment's table, and draw its figure."""

from certflow.report.preview import write_preview
from certflow.workflow.job import attached, pictures


def main(job):
    write_preview(
        job.params.spec,
        list(job.input.plans),
        list(job.input.counts),
        [job.output.tex, job.output.md, job.output.tsv],
        pictures([*job.output.figure, job.output.svg]),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
