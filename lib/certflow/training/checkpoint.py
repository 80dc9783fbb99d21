"""The resume file of a training run: what changes in it, optimiser and position, keyed by the digest of what is being trained.

What rests, such as the classifier behind a denoiser, is not stored: a resumed run makes it anew from what it was made from.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from certflow.errors import ArtefactError, UnreadableError
from certflow.files.intact import reading
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors, write_tensors
from certflow.kinds.spec import canonical_json
from certflow.models.modes import in_mode
from certflow.training.recipe import Optimiser

FORMAT = "training state"


@dataclass
class Position:
    """How far a run has come: `batch` loader batches of epoch `epoch`, both counted from 0.

    `rows` are the finished epochs' lines of the training log, `sums` the running epoch's totals (see `Meter`).
    """

    epoch: int = 0
    batch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, int | float] = field(default_factory=dict)


def save_state(path: Path, digest: str, model: torch.nn.Module, optimiser: Optimiser, position: Position) -> None:
    """Replace the resume file; when it cannot be written (a full disk), the error names it and the older one stays."""
    record = Provenance(format=FORMAT, spec={"run": digest}, facts={"position": asdict(position)})
    write_tensors(path, _state(model, optimiser), record)


def load_state(path: Path, digest: str, model: torch.nn.Module, optimiser: Optimiser) -> Position | None:
    """Put what is stored of model and optimiser in place and return the position, or None where there is nothing to resume.

    A damaged file and one of another digest are left aside with a line on stderr that says why: the run starts afresh
    and soon replaces them. One that the system does not give out is an `UnreadableError`: it may hold hours of work.
    """
    if not path.exists():
        return None
    try:
        tensors, record = read_tensors(path, format=FORMAT)
        if record.spec != {"run": digest}:
            return _ignored(f"{path}: belongs to another specification")
        with reading(path):
            position = TypeAdapter(Position).validate_json(canonical_json(record.facts["position"]), strict=True)
        _require_fitting(path, tensors, model)
    except UnreadableError:
        raise
    except ArtefactError as error:
        return _ignored(str(error))
    _restore(model, optimiser, tensors)
    return position


def changing_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The part of `state_dict` that training may change, the tensors themselves.

    Parameters that take gradients; buffers of modules that are in train mode when the model is; and whatever lies in the
    children that a module lists as `changes_by_hand`, such as a running average of weights. Modes are put back.
    """
    names = set()
    with in_mode(model, training=True):
        for prefix, module in model.named_modules(remove_duplicate=False):
            parameters = [name for name, p in module.named_parameters(recurse=False) if p.requires_grad]
            buffers = [name for name, _ in module.named_buffers(recurse=False)] if module.training else []
            names.update(f"{prefix}.{name}" if prefix else name for name in parameters + buffers)
    by_hand = tuple(_changed_by_hand(model))
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if name in names or name.startswith(by_hand)}


def resting_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The rest of `state_dict`: what a training does not change."""
    changing = changing_state(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in changing}


def _changed_by_hand(model: torch.nn.Module) -> Iterator[str]:
    """How the names of such tensors begin."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        for child in getattr(module, "changes_by_hand", ()):
            yield f"{prefix}.{child}." if prefix else f"{child}."


def _require_fitting(path: Path, tensors: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    weights = {name: (tensor.shape, tensor.dtype) for name, tensor in _state(model, None).items()}
    if {name: kind for name, kind in found.items() if name.startswith("model.")} != weights:
        raise ArtefactError(f"{path}: belongs to another network")


def _state(model: torch.nn.Module, optimiser: Optimiser | None) -> dict[str, torch.Tensor]:
    """Weights and buffers as `model.<name>`, and what the optimiser calls its own (`momentum.<parameter>`)."""
    state = {f"model.{name}": tensor for name, tensor in changing_state(model).items()}
    return state | (optimiser.state() if optimiser is not None else {})


def _restore(model: torch.nn.Module, optimiser: Optimiser, tensors: dict[str, torch.Tensor]) -> None:
    stored = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    model.load_state_dict(stored, strict=False)  # the rest is there already
    optimiser.restore({name: tensor for name, tensor in tensors.items() if not name.startswith("model.")})


def _ignored(reason: str) -> None:
    print(f"{reason}; training starts from the beginning", file=sys.stderr, flush=True)
