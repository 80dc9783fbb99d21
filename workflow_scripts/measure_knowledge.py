"""Volatility and certificate of every layer of one model."""

from certflow.knowledge.stage import measure_knowledge
from certflow.workflow.job import attached


def main(job):
    measure_knowledge(
        job.params.spec,
        features=job.input.features,
        volatility=job.output.volatility,
        certificate=job.output.certificate,
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
