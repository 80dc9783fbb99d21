"""Smoothed predictions: how often a base classifier gives each class to each training image under noise.

CAT-RS reads them (Jeong, Kim and Shin 2023). They are made once, by a model of its own, and stored as exact counts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import read_arrays
from certflow.files.provenance import Provenance
from certflow.kinds.seeds import TrainingSeed
from certflow.kinds.spec import Record

FORMAT, SHARD_FORMAT = "predictions", "predictions shard"
USUAL_SIGMA = 0.25
"""Noise level of the base classifier in the published code of CAT-RS, whatever the level that is trained for."""


class Predictions(Record):
    """An entry of `predictions`: whose votes are counted, and how many.

    The base classifier has the network of the model that is trained with them, and the same images; its method, noise and
    seed are named here, whatever those of the model.
    """

    method: str
    """Entry of `methods` that trains (or brings) the base classifier."""
    noise: str
    """Entry of `noises` that it is trained at and the votes are drawn at; papers: Gaussian, sigma 0.25."""
    seed: TrainingSeed = 0
    """Training seed of the base classifier."""
    n: int = Field(10_000, ge=1, lt=2**32)
    """Votes per image. The standard error of a frequency is at most 0.5/sqrt(n): 0.005 for the papers' 10,000."""
    augment: bool = False
    """Count the votes on one random augmented view of each image, as the published code does, not on the image itself."""

    def settings(self) -> dict[str, Any]:
        """What the counts depend on, besides the base classifier. `revision` as in `certflow.kinds.spec.Spec`."""
        return {"revision": 1, "n": self.n, "augment": self.augment}


def compact(counts: np.ndarray, n: int) -> np.ndarray:
    """Counts of n votes in the smallest unsigned type that holds them: uint16 up to 65,535, else uint32."""
    return counts.astype(np.uint16 if n < 2**16 else np.uint32)


def read_predictions(
    path: str | Path, spec: Mapping[str, Any], *, data: str, images: int, classes: int
) -> tuple[np.ndarray, Provenance]:
    """Frequencies, float32 [images, classes], rows summing to 1 up to rounding, and the file's provenance.

    spec: `Study.predictions_spec`. data: content digest of the dataset that is trained on. `DataError` for predictions of other
    images; `ArtefactError` for a file that is damaged, was made otherwise, or whose rows are not n votes each.
    """
    arrays, record = read_arrays(path, format=FORMAT, spec=spec)
    if record.parents.get("data") != data:
        raise DataError(
            f"{path}: its predictions are of other images than those of this training; delete it and run again"
        )
    counts, n = arrays["counts"], spec["predictions"]["n"]
    if counts.shape != (images, classes):
        raise ArtefactError(
            f"{path}: holds {counts.shape[0]} rows of {counts.shape[1]} classes, the training split has {images} images of "
            f"{classes}; delete it and run again"
        )
    check_votes(counts, n, path)
    return (counts / np.float64(n)).astype(np.float32), record


def check_votes(counts: np.ndarray, n: int, path: str | Path) -> None:
    """Every row must be the counts of n votes; `ArtefactError` names the first image whose row is not."""
    wrong = (counts.sum(axis=1, dtype=np.int64) != n) | (counts > n).any(axis=1)
    if wrong.any():
        image = int(wrong.argmax())
        total = int(counts[image].sum(dtype=np.int64))
        raise ArtefactError(f"{path}: image idx {image}: {total} votes instead of n={n}; delete it and run again")


def unusual(spec: Mapping[str, Any]) -> str | None:
    """A sentence where the base classifier's noise is not what the published code has; else None."""
    noise = spec["noise"]
    if noise["kind"] == "gaussian" and noise["sigma"] == USUAL_SIGMA:
        return None
    level = f"{noise['kind']} noise of sigma {noise.get('sigma')}"
    return f"smoothed predictions under {level}; the published code has Gaussian noise of sigma {USUAL_SIGMA} for every level"
