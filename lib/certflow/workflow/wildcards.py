"""The names in a job's path."""

from typing import Protocol

from certflow.config.records import CountsRun, ModelKey


class Wildcards(Protocol):
    """What Snakemake hands to the functions of a rule: each name in the path of its output, as text."""

    def __getattr__(self, name: str) -> str: ...


def model_key(w: Wildcards) -> ModelKey:
    """The names in the path of a model."""
    return ModelKey(w.dataset, w.model, w.method, w.noise, int(w.seed))


def counts_run(w: Wildcards) -> CountsRun:
    """The names in the path of counts."""
    return CountsRun(*model_key(w), w.images, w.sampler)
