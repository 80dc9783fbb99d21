"""Bring a user's own checkpoint into the pipeline, after a look at its accuracy."""

from certflow.models.stage import import_model
from certflow.workflow.job import attached, dataset_of, device_of, method_of


def main(job):
    import_model(
        job.params.spec,
        dataset_of(job),
        method_of(job),
        manifest=job.input.data,
        checkpoint=job.input.checkpoint,
        model=job.output.model,
        device=device_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
