"""What every layer of one model gives at random points of the test split."""

from certflow.knowledge.stage import extract_features
from certflow.workflow.job import attached, dataset_of, device_of


def main(job):
    extract_features(
        job.params.spec,
        dataset_of(job),
        manifest=job.input.data,
        model=job.input.model,
        features=job.output.features,
        device=device_of(job),
    )


if __name__ == "__main__":
    with attached(snakemake) as job:  # noqa: F821
        main(job)
