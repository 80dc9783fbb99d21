"""Low-rank adaptation (Hu et al. 2022): attention whose queries and values learn W + B·A, with A and B of low rank.

The additions are parametrisations of the weights, so that the network's own code runs as it is; `merge` makes plain weights of
them. B starts at 0, and so does the addition; A starts as torch's linear layers do. There is no further scale (alpha = rank).
"""

import math
import re

import torch
from jaxtyping import Float
from torch import nn
from torch.nn.utils import parametrize

from certflow.models.fitting import head

FUSED = re.compile(r"(?:^|\.)qkv$")
"""A linear layer that makes queries, keys and values, in this order (timm)."""
SINGLE = re.compile(r"(?:^|\.)(?:query|value|q_proj|v_proj)$")
"""Layers of their own for queries and values (transformers)."""


class Addition(nn.Module):
    """W → W + B·A for weights [rows, columns]."""

    def __init__(self, rows: int, columns: int, rank: int):
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def product(self) -> Float[torch.Tensor, "rows columns"]:
        return self.b @ self.a

    def forward(self, weight: Float[torch.Tensor, "rows columns"]) -> Float[torch.Tensor, "rows columns"]:
        return weight + self.product()


class QueryValue(nn.Module):
    """The same for queries and values stacked with keys between them, which stay as they are: [3·width, columns]."""

    def __init__(self, rows: int, columns: int, rank: int):
        super().__init__()
        self.query, self.value = (Addition(rows // 3, columns, rank) for _ in range(2))

    def forward(self, weight: Float[torch.Tensor, "rows columns"]) -> Float[torch.Tensor, "rows columns"]:
        query, key, value = weight.chunk(3)
        return torch.cat([self.query(query), key, self.value(value)])


def targets(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that additions go to, by name."""
    found = network.named_modules()
    return {
        name: layer for name, layer in found if type(layer) is nn.Linear and (FUSED.search(name) or SINGLE.search(name))
    }


def problem(network: nn.Module, rank: int) -> str | None:
    """Why a network cannot be adapted at this rank (None: it can)."""
    layers = targets(network)
    if not layers:
        return (
            "mode lora: the classifier has no attention to adapt (linear layers named qkv, query, value, q_proj or v_proj); "
            "use mode full"
        )
    least = min(layer.in_features for layer in layers.values())
    return f"rank must be at most the attention's width {least}, got {rank}" if rank > least else None


def add(network: nn.Module, rank: int) -> None:
    """Adapt a network in place: the additions and the last linear layer (the head) learn, all else is frozen.

    A is drawn from torch's generator, layer by layer. ValueError for a network that has nothing to adapt.
    """
    wrong = problem(network, rank)
    if wrong is not None:
        raise ValueError(wrong)
    last = (head(network) or "").removesuffix(".weight")
    network.requires_grad_(False)
    network.get_submodule(last).requires_grad_(True)
    for name, layer in targets(network).items():
        form = QueryValue if FUSED.search(name) else Addition
        parametrize.register_parametrization(layer, "weight", form(*layer.weight.shape, rank))


def merge(network: nn.Module) -> None:
    """Replace adapted weights by plain ones of the same values, in place; a network without additions stays as it is."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
