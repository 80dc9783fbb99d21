"""Weights of denoisers that were trained elsewhere, put into a network of ours by their names."""

from pathlib import Path

import torch

from lib.models.fitting import fit
from lib.models.keys import rename
from lib.models.reading import read_tensors


def load_into(network: torch.nn.Module, path: str | Path) -> None:
    """Put the weights of a file into `network` in place: every key, no other, finite, in the network's dtype.

    What data-parallel wrappers put before the names is taken off; nothing is unpickled but tensors. `ArtefactError` names
    the file and the keys that do not fit, such as those of a gray denoiser on colour images.
    """
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in read_tensors(path).items()
    }
    fit(network, rename(state, network.state_dict()).weights, path, exact=False)
