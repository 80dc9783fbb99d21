"""Draw an experiment's figures."""

from certflow.report.stage import plot_figures
from certflow.workflow.job import attached, pictures


def main(job):
    plot_figures(job.params.spec, list(job.input.certificates), pictures(job.output), list(job.input.attacks))


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
