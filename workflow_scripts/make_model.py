"""Make one model by one method at one noise level: trained, put together or imported, and the log of its training if any."""

from certflow.training.assembly import Files
from certflow.training.stage import Outputs, make_model
from certflow.workflow.job import attached, dataset_of, denoiser_of, devices_of, method_of


def files_of(job):
    """What the model is made from, by what it is for."""
    denoiser = denoiser_of(job, method_of(job).own_denoiser())
    return Files(
        parts=dict(zip(job.params.roles, job.input.parts, strict=True)),
        tables={name: getattr(job.input, name) for name in job.params.spec.get("tables", {})},
        checkpoint=getattr(job.input, "checkpoint", None),
        denoiser=denoiser,
        trained=job.input.denoiser[0] if denoiser is not None and denoiser.train is not None else None,
    )


def main(job):
    make_model(
        job.params.spec,
        dataset_of(job),
        method_of(job),
        manifest=job.input.data,
        outputs=Outputs(job.output.model, getattr(job.output, "training", None)),
        device=devices_of(job),
        files=files_of(job),
        description=f"{job.wildcards.method} {job.wildcards.noise}",
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
