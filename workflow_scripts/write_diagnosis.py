"""Write a diagnosis: its page, and its figures as files."""

from certflow.report.diagnosis.stage import Tables, write_diagnosis
from certflow.workflow.job import attached


def main(job):
    tables = Tables(
        volatility=list(job.input.volatility),
        certificate=list(job.input.certificate),
        attacks=list(job.input.attacks),
        compared=list(job.input.compared),
        certificates=list(job.input.certificates),
    )
    write_diagnosis(job.params.spec, tables, page=job.output.page, figures=job.output.figures)


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
