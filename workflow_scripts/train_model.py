"""Train one model by one method at one noise level, and write its weights and its log."""

from certflow.training.stage import train_model
from certflow.workflow.job import attached, dataset_of, devices_of, method_of


def main(job):
    train_model(
        job.params.spec,
        dataset_of(job),
        method_of(job),
        manifest=job.input.data,
        model=job.output.model,
        log=job.output.training,
        device=devices_of(job),
        tables={name: getattr(job.input, name) for name in job.params.spec.get("tables", {})},
        checkpoint=getattr(job.input, "checkpoint", None),
        description=f"{job.wildcards.method} {job.wildcards.noise}",
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
