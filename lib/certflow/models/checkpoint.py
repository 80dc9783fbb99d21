"""Our own model files: the exact weights of a network, and what made them."""

from pathlib import Path
from typing import Any

import torch

from certflow.data.base import DataInfo
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors, write_tensors
from certflow.models.assemble import skeleton
from certflow.models.base import ModelSpec
from certflow.models.fitting import fit
from certflow.models.normalise import Normalise

FORMAT = "model"


def save_model(path: str | Path, module: torch.nn.Module, provenance: Provenance) -> None:
    """Write the module's state (exact bits, dtypes kept) and its provenance into one file, atomically."""
    write_tensors(path, module.state_dict(), provenance)


def load_model(
    path: str | Path, model: ModelSpec, info: DataInfo, /, **expected: Any
) -> tuple[torch.nn.Sequential, Provenance]:
    """The network written by `save_model`, in eval mode on the CPU, and its provenance. It normalises as it did when written.

    `expected` (format, spec, parents) is compared with the provenance as by `Provenance.require`; `format` is "model"
    unless given. Raises `ArtefactError` for a file that is missing, damaged or altered, was made from another specification,
    or does not fit the network of `model` for such data.
    """
    state, provenance = read_tensors(path, **{"format": FORMAT, **expected})
    network = skeleton(model, info)
    # The file decides how its network normalises: an imported model may do otherwise than the dataset's usual way.
    network[0] = Normalise.like(state.get("0.mean"), state.get("0.sd"))
    fit(network, state, path, exact=True)
    return network.eval(), provenance
