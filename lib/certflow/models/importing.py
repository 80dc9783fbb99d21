"""Bringing a model made elsewhere into a run, and finding out at once whether it sees the images as it was trained to.

Published files rarely contain the normalisation in front of the network, and a wrong one ruins a model without any error.
So the noisy accuracy is measured as chosen and in the other usual ways, and a better one is pointed out.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow.data.base import DataInfo, Split
from certflow.files.intact import file_digest
from certflow.models.base import ModelSpec
from certflow.models.examination import Examination, examine
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    from certflow.training.kinds.external import External


def import_model(
    checkpoint: str | Path,
    external: "External",
    spec: ModelSpec,
    info: DataInfo,
    test: Split,
    noise: NoiseSpec,
    seed: int,
    device: str | torch.device = "cpu",
) -> tuple[torch.nn.Sequential, dict[str, Any]]:
    """The network of `spec` with the weights of `checkpoint`, in eval mode on `device`, and notes for its provenance.

    It normalises as `external` says, else the file, else `spec` and `info`. Notes: those of `Examination.notes`, and the
    file's `sha256`. Where there are findings, the doctor's page is also printed on stderr.

    Raises `ArtefactError` for a file that cannot be read or does not fit, `NonFiniteError` for logits that are NaN or infinite.
    """
    network, found = examine(checkpoint, external.options(), spec, info, test, noise, seed, device)
    if found.findings:
        _shout(found)
    return network, {**found.notes(), "sha256": file_digest(checkpoint)}


def tell(checkpoint: str | Path, notes: Mapping[str, Any]) -> None:
    """One line on stderr about the accuracies that `import_model` found."""
    shown = f"{notes['clean_accuracy']:.1%} on clean images, {notes['noisy_accuracy']:.1%} on noisy ones"
    print(
        f"{checkpoint}: base classifier's accuracy on {notes['images']} test images: {shown}",
        file=sys.stderr,
        flush=True,
    )


def _shout(found: Examination) -> None:
    bar = "=" * 100
    page = f"{found.page()}\nThe run goes on with the model as chosen."
    print("\n".join(["", bar, page, bar, ""]), file=sys.stderr, flush=True)
