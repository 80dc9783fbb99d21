"""Weights of denoisers that were trained elsewhere, put into certflow's networks by their names."""

from pathlib import Path

import torch

from certflow.models.fitting import fit
from certflow.models.taking import take


def load_into(network: torch.nn.Module, path: str | Path) -> None:
    """Put the weights of a file into `network` in place: every key, no other, finite, in the network's dtype.

    What wrappers put before the names is taken off; nothing in the file is run. `ArtefactError` names
    the file and the keys that do not fit, such as those of a gray denoiser on colour images.
    """
    fit(network, take(path, network)[0].weights, path, exact=False)
