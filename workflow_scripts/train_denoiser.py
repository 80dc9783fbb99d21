"""Train a denoiser by itself, over a range of noise levels."""

from certflow.training.denoisers.stage import train_denoiser
from certflow.workflow.job import attached, dataset_of, device_of


def main(job):
    train_denoiser(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.output.model,
        log=job.output.training,
        device=device_of(job),
        description=job.wildcards.denoiser,
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
