"""Our own model files: safetensors with the exact weights, and in its metadata what made them and a digest of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lib.artefact import Provenance, atomic
from lib.data.base import DataInfo
from lib.errors import ArtefactError
from lib.models.assemble import skeleton
from lib.models.base import ModelSpec
from lib.models.fitting import fit
from lib.models.header import from_metadata, to_metadata
from lib.models.normalise import Normalise

FORMAT = "model"


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bits of all tensors, whatever their order, device or memory layout."""
    total = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        total.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def save_model(path: str | Path, module: torch.nn.Module, provenance: Provenance) -> None:
    """Write the module's state (exact bits, dtypes kept) and its provenance into one safetensors file, atomically."""
    state = {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in module.state_dict().items()
    }
    content = save(state, metadata=to_metadata(provenance, weights_digest(state)))
    with atomic(path) as part:
        part.write_bytes(content)


def load_model(
    path: str | Path, model: ModelSpec, info: DataInfo, /, **expected: Any
) -> tuple[torch.nn.Sequential, Provenance]:
    """The network written by `save_model`, in eval mode on the CPU, and its provenance. It normalises as it did when written.

    `expected` (format, spec, parents) is compared with the provenance as in `lib.artefact`; `format` is "model" unless given.
    Raises `ArtefactError` for a file that is missing, damaged or altered, was made from another specification, or does not
    fit the network of `model` for such data.
    """
    state, provenance = read_model(path)
    provenance.require(path, **{"format": FORMAT, **expected})
    network = skeleton(model, info)
    # The file decides how its network normalises: an imported model may do otherwise than the dataset's usual way.
    network[0] = Normalise.like(state.get("0.mean"), state.get("0.sd"))
    fit(network, state, path, exact=True)
    return network.eval(), provenance


def read_model(path: str | Path) -> tuple[dict[str, torch.Tensor], Provenance]:
    """The state and provenance of a model file of ours, after comparing the weights with their digest."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            # Clones: the file's own pages must not change under a loaded model when the file is replaced.
            state = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: is missing; run the step that makes it") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtefactError(f"{path}: is damaged ({error}); delete it and run again") from error
    provenance, digest = from_metadata(metadata, path)
    if weights_digest(state) != digest:
        raise ArtefactError(f"{path}: its weights differ from what was written (damaged disk); delete it and run again")
    return state, provenance
