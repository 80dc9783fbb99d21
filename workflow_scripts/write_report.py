"""Write an experiment's report page."""

from certflow.report.stage import write_report
from certflow.workflow.job import attached


def main(job):
    write_report(
        job.params.spec,
        list(job.input.certificates),
        figures=[job.input.curves, job.input.p_a, job.input.cost, *job.input.denoised],
        training=list(job.input.training),
        page=job.output.page,
        corruptions=getattr(job.input, "corruptions", None),
        preview=tuple(job.input.estimate) or None,
        attacks=list(job.input.attacks),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
