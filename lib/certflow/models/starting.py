"""Weights to start a training from: those of a checkpoint, in a network that keeps its own normalisation."""

import sys
from pathlib import Path
from typing import Any

import torch

from certflow.data.base import DataInfo
from certflow.files.intact import file_digest
from certflow.models.base import ModelSpec
from certflow.models.normalise import normalisation
from certflow.models.published import load_weights


def start_from(module: torch.nn.Sequential, checkpoint: str | Path, spec: ModelSpec, info: DataInfo) -> dict[str, Any]:
    """Give `module` (as `certflow.models.build` makes it) the checkpoint's weights, running averages included, in place.

    The network normalises as its spec and its dataset say, not as the checkpoint does: the published fine-tuning of DSRS puts
    weights that were trained behind a full normalisation behind mere centring. Where the file states another normalisation,
    a note says so. Returns facts for the provenance: `checkpoint`, its `sha256`, and `note` where there is one.

    Raises `ArtefactError` for a file that is missing, needs unpickling, or does not fit the network.
    """
    loaded = load_weights(checkpoint, spec, info, classes=info.classes)
    module[1].load_state_dict(loaded.module[1].state_dict())
    facts = {"checkpoint": str(checkpoint), "sha256": file_digest(checkpoint)}
    if loaded.normalisation == "file" and not normalisation(loaded.module).does_as(normalisation(module)):
        facts["note"] = (
            f"its weights were trained behind the normalisation {loaded.module[0].extra_repr()}, this network has "
            f"{module[0].extra_repr()}"
        )
        print(f"note: {checkpoint}: {facts['note']}", file=sys.stderr, flush=True)
    return facts
