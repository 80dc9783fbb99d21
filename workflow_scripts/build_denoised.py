"""Put a denoiser before a frozen classifier, and train it there if its method has an objective."""

from certflow.denoising.stage import build_denoised
from certflow.workflow.job import attached, dataset_of, denoiser_of, device_of, method_of


def main(job):
    method = method_of(job)
    denoiser = denoiser_of(job, method.denoiser)
    build_denoised(
        job.params.spec,
        dataset_of(job),
        method,
        denoiser,
        manifest=job.input.data,
        parts=dict(zip(job.params.roles, job.input.parts, strict=True)),
        trained=job.input.denoiser[0] if denoiser is not None and denoiser.train is not None else None,
        model=job.output.model,
        log=getattr(job.output, "training", None),
        device=device_of(job),
        description=f"{job.wildcards.method} {job.wildcards.noise}",
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
