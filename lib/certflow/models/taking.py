"""The weights of a network from a file made elsewhere, or from one of certflow: found, named as the network does, and read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from certflow.errors import ArtefactError
from certflow.files.tensorfile import read_tensors
from certflow.models.header import is_ours
from certflow.models.keys import Published, Wanted, choose, rename, unread
from certflow.models.reading import Mapped, weight_file

OURS = "model file of certflow"


@dataclass(frozen=True)
class Source:
    """What a weight file is, which weights were taken from it, and what else lay there."""

    what: str
    """The format, in words."""
    taken: str
    """Place and prefix of the weights, as `weights` names them."""
    average: bool = False
    """Whether they are running averages."""
    others: tuple[str, ...] = ()
    """Further complete sets of weights, as `weights` names them."""
    beside: tuple[str, ...] = ()
    """What lies beside the mappings of weights."""
    dropped: tuple[str, ...] = ()
    """Tensors among the weights that the network has no place for and does without."""


def take(
    path: str | Path,
    network: torch.nn.Module,
    classes: int | None = None,
    weights: str = "auto",
    leave_out: Sequence[str] = (),
) -> tuple[Published, Source]:
    """The weights of a file under the network's own names, and what the file is.

    classes: number of the network's outputs; the file may have another number. weights: as in `keys.choose`. leave_out: as in
    `keys.rename`. Whether the weights fit is for `fit` to say. Raises `ArtefactError` for a file that cannot be read.
    """
    state = network.state_dict()
    by_class = frozenset(name for name, tensor in state.items() if tensor.dim() and len(tensor) == classes)
    wanted = Wanted({name: tensor.shape for name, tensor in state.items()}, by_class)
    if is_ours(path):
        taken = choose([Mapped("", read_tensors(path)[0])], wanted, weights, path)
        return rename(taken, state, leave_out), Source(OURS, taken.candidate.label)
    with weight_file(path) as file:
        taken = choose(file.mappings, wanted, weights, path)
        if lost := unread(taken, wanted):
            first, what = lost[0]
            raise ArtefactError(f"{path}: {first} is not a dense tensor ({what}); convert it, and save the file again")
        found = rename(taken, state, leave_out)
        statistics = {name: tensor for name, tensor in (("mean", found.mean), ("sd", found.sd)) if tensor is not None}
        source = Source(
            file.what,
            taken.candidate.label,
            taken.candidate.average,
            tuple(other.label for other in taken.others),
            file.beside,
            found.dropped,
        )
        return replace(found, weights=file.read(found.weights), **file.read(statistics)), source
