"""Draw clean, noisy and denoised images of an experiment."""

from certflow.report.strip import draw_denoised
from certflow.workflow.job import attached, dataset_of, device_of, pictures


def main(job):
    draw_denoised(
        job.params.spec,
        dataset_of(job, job.config["experiments"][job.wildcards.experiment]["dataset"]),
        manifest=job.input.data,
        models=list(job.input.models),
        paths=pictures(job.output),
        device=device_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
