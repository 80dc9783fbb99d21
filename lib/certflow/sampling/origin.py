"""Where a job's model and images come from, checked before anything is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from certflow.data.base import DatasetSpec, Split
from certflow.data.corruptions.store import Copies, Corrupted, same_corruption
from certflow.data.store import content_digest, open_split
from certflow.data.subset import Images
from certflow.errors import ArtefactError, DataError
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive

TRAINED = ("dataset", "method", "noise", "seed", "tables", "fine_tuned", "files", "parts")
"""The part of a job's specification that its model was trained by, besides the architecture."""


@dataclass(frozen=True)
class Around:
    """The images that copies are drawn around: clean ones, views of them, or corrupted copies."""

    split: Split
    corrupted: Copies | None = None
    """The same split, where it is one of corrupted copies."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digests of what they were made from, besides the dataset."""
    notes: dict[str, Any] = field(default_factory=dict)

    def chosen(self, images: Mapping[str, Any], manifest: str | Path) -> Int64[np.ndarray, " images"]:
        """Positions in the split of the images that the entry `images` chooses; at every severity where they are corrupted."""
        subset = Images.model_validate({key: value for key, value in images.items() if key != "corruption"})
        try:
            return subset.indices(len(self.split)) if self.corrupted is None else self.corrupted.indices(subset)
        except ValueError as error:
            raise DataError(f"{manifest}: {error}; change the `images` entry") from None


def around(
    dataset: DatasetSpec, manifest: str | Path, images: Mapping[str, Any], corrupted: Corrupted | None
) -> Around:
    """The images that the entry `images` is about. ArtefactError where corrupted copies are given and not meant, or the other
    way round."""
    if not same_corruption(images, corrupted):
        given = "clean images" if corrupted is None else f"copies of corruption {corrupted.name}"
        raise ArtefactError(
            f"{manifest}: asked for images {dict(images)}, but given {given}; delete the plan and run again"
        )
    if corrupted is None:
        return Around(open_split(dataset, manifest, images["split"]))
    copies, content = corrupted.open(dataset, manifest)
    return Around(copies, copies, {"images": content}, {"images_per_severity": copies.clean_images})


def checked_origin(path: str | Path, record: Provenance, spec: Mapping[str, Any], manifest: str | Path) -> str:
    """The digest of the data. The model file must be what the job's spec says it was trained as, and on this data."""
    wanted = {key: spec[key] for key in TRAINED if key in spec}
    record.require(path, format="model", spec={**wanted, "model": revive("model", spec["model"]).architecture()})
    data = content_digest(manifest)
    if record.parents.get("data") not in (None, data):
        raise DataError(f"{manifest}: its content is not what {path} was trained on; train again or restore the images")
    return data
