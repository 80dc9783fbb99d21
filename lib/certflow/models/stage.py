"""Importing as a stage of the pipeline: from a checkpoint made elsewhere to a stored model of ours."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.data.base import DatasetSpec
from certflow.data.store import open_split
from certflow.files.artefact import Provenance
from certflow.files.contents import require_contents
from certflow.kinds.registry import revive
from certflow.machine.naming import device_name
from certflow.models import importing
from certflow.models.checkpoint import save_model

if TYPE_CHECKING:
    from certflow.training.kinds.external import External


def import_model(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: "External",
    *,
    manifest: str | Path,
    checkpoint: str | Path,
    model: str | Path,
    device: Any,
) -> None:
    """Write the network of `spec` (see `Study.model_spec`) with the weights of `checkpoint` to `model`.

    The checkpoint's SHA-256 is a parent of the result; what was found out about its accuracy is among the notes.
    """
    network, notes = importing.import_model(
        checkpoint,
        method,
        revive("model", {"inference": {}, **spec["model"]}),
        dataset.info(),
        open_split(dataset, manifest, "test"),
        revive("noise", spec["noise"]),
        spec["seed"],
        device,
    )
    shown = f"{notes['clean_accuracy']:.1%} on clean images, {notes['noisy_accuracy']:.1%} on noisy ones"
    print(
        f"{checkpoint}: base classifier's accuracy on {notes['images']} test images: {shown}",
        file=sys.stderr,
        flush=True,
    )
    parents = {"checkpoint": notes.pop("sha256")}
    require_contents(spec, parents)
    save_model(
        model, network, Provenance(format="model", spec=spec, parents=parents, device=device_name(device), notes=notes)
    )
