"""The resume file of a training run: weights, optimiser and position, keyed by the digest of what is being trained."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from lib.artefact import atomic
from lib.spec import canonical_json
from lib.training.base import Optimiser

FORMAT = "training-state-1"


@dataclass
class Position:
    """How far a run has come: `batch` loader batches of epoch `epoch`, both counted from 0.

    `rows` are the finished epochs' lines of the training log, `sums` the running epoch's totals (see `Meter`).
    """

    epoch: int = 0
    batch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)


def save_state(path: Path, digest: str, model: torch.nn.Module, optimiser: Optimiser, position: Position) -> None:
    """Replace the resume file; when it cannot be written (a full disk), the error names it and the older one stays."""
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in _state(model, optimiser).items()
    }
    record = canonical_json({"format": FORMAT, "digest": digest, "position": asdict(position)})
    content = to_bytes(tensors, metadata={"certflow": record})
    with atomic(path) as part:
        part.write_bytes(content)


def load_state(path: Path, digest: str, model: torch.nn.Module, optimiser: Optimiser) -> Position | None:
    """Put the stored weights and optimiser in place and return the position, or None where there is nothing to resume.

    A damaged file and one of another digest are left aside with a line on stderr that says why: the run starts afresh
    and soon replaces them.
    """
    if not path.exists():
        return None
    try:
        tensors, record = _read(path)
        if record["digest"] != digest:
            return _ignored(path, "belongs to another specification")
        position = Position(**record["position"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        return _ignored(path, f"is damaged ({error})")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    weights = {name: tensor.shape for name, tensor in _state(model, None).items()}
    if {name: shape for name, shape in shapes.items() if name.startswith("model.")} != weights:
        return _ignored(path, "belongs to another network")
    _restore(model, optimiser, tensors)
    return position


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        record = json.loads((file.metadata() or {})["certflow"])
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}, not {FORMAT!r}")
        return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118 (no mapping)


def _state(model: torch.nn.Module, optimiser: Optimiser | None) -> dict[str, torch.Tensor]:
    """Weights and buffers as `model.<name>`, and what the optimiser calls its own (`momentum.<parameter>`)."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return state | (optimiser.state() if optimiser is not None else {})


def _restore(model: torch.nn.Module, optimiser: Optimiser, tensors: dict[str, torch.Tensor]) -> None:
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    optimiser.restore({name: tensor for name, tensor in tensors.items() if not name.startswith("model.")})


def _ignored(path: Path, reason: str) -> None:
    print(f"{path}: {reason}; training starts from the beginning", file=sys.stderr, flush=True)
