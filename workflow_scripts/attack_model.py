"""Attacks on one model at every radius of an attack."""

from certflow.attacks.stage import attack_model
from certflow.workflow.job import attached, dataset_of, device_of


def main(job):
    attack_model(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.input.model,
        table=job.output.table,
        device=device_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
