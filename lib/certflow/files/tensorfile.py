"""Tensors and what made them in one safetensors file: the container of our models and of interrupted trainings."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from certflow.errors import ArtefactError
from certflow.files.atomic import atomic
from certflow.files.formats import require_container
from certflow.files.provenance import Provenance
from certflow.files.tensorheader import CONTENT, from_metadata, open_tensors, reading_tensors, to_metadata


def tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bits of all tensors, whatever their order, device or memory layout."""
    total = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        total.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], provenance: Provenance) -> None:
    """Write tensors (exact bits, dtypes kept) and their provenance, atomically."""
    require_container(provenance.format, "tensors")
    state = {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
    content = save(state, metadata=to_metadata(provenance, tensors_digest(state)))
    with atomic(path) as part:
        part.write_bytes(content)


def read_tensors(path: str | Path, **expected: Any) -> tuple[dict[str, torch.Tensor], Provenance]:
    """The tensors and provenance of a file written by `write_tensors`, after comparing both with their checksums.

    `expected` (format, spec, parents) is checked before the tensors are read. Takes no more memory than the file has bytes.
    """
    with ExitStack() as stack:
        with reading_tensors(path):
            file = stack.enter_context(open_tensors(path, "pt"))
            metadata = file.metadata()
        provenance, content = from_metadata(metadata, path)
        if expected:
            provenance.require(path, **expected)
        with reading_tensors(path):
            # Clones: the file's own pages must not change under a loaded model when the file is replaced.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)
            found = tensors_digest(tensors)
    if found != content.get(CONTENT):
        raise ArtefactError(f"{path}: its tensors differ from what was written (damaged disk); delete it and run again")
    return tensors, provenance
