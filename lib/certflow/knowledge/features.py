"""Representations of data points at every hidden layer of a network, and its logits, from one pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from certflow.data.items import counting
from certflow.knowledge.settings import INPUT, LOGITS
from certflow.models.hidden import Choice, Reduction, captured, hidden_layers
from certflow.models.modes import in_mode
from certflow.sampling.settings import engine_settings

LARGEST_INPUT = 20_000
"""Coordinates of an input above which it is left out: 2000 images of 3×224×224 would take a gigabyte."""


@dataclass(frozen=True)
class Features:
    """What a network makes of n points."""

    z: dict[str, np.ndarray]
    """Layer, in forward order → float32 [n, dim]."""
    logits: np.ndarray
    """float32 [n, classes]"""
    labels: np.ndarray
    """int64 [n]"""

    @property
    def layers(self) -> list[str]:
        """Names in forward order."""
        return list(self.z)

    def depth(self, layer: str) -> float:
        """0 for the first layer, 1 for the last."""
        return self.layers.index(layer) / max(1, len(self.z) - 1)


@torch.inference_mode()
def extract(
    network: torch.nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    layers: Choice = "stages",
    reduce: Reduction = "auto",
    mask: Callable[[torch.Tensor], torch.Tensor | None] = counting,
) -> Features:
    """Features of all batches (x [rows, ...], y [rows]), in float32 whatever the caller's settings say. The network is put into
    eval mode, and left in the mode it had.

    x: whatever the network takes; where it holds numbers that are not whole it is the layer `input`, flattened. mask: x →
    [rows, tokens], 1 where a token counts; unless given, all that are not padding.
    """
    parts, names = [], None
    with engine_settings(), in_mode(network, training=False):
        for x, y in batches:
            names = names or hidden_layers(network, x[:1], layers)
            parts.append((*_features(network, x, names, reduce, mask), y.cpu().numpy()))
    if not parts:
        raise ValueError("batches: there are none")
    whole = {name: np.concatenate([found[name] for found, _, _ in parts]) for name in parts[0][0]}
    logits, labels = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    return Features({**whole, LOGITS: logits}, logits, labels.astype(np.int64))


def _features(
    network: torch.nn.Module, x: torch.Tensor, names: Sequence[str], reduce: Reduction, mask: Callable
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    with captured(network, names, reduce, mask(x)) as found:
        logits = network(x).float().cpu().numpy()
    first = {INPUT: x.float().flatten(1)} if x.is_floating_point() and x[0].numel() <= LARGEST_INPUT else {}
    return {name: values.cpu().numpy() for name, values in {**first, **found}.items()}, logits
