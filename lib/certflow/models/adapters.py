"""Low-rank adaptation (Hu et al. 2022): attention whose queries and values learn W + B·A, with A and B of low rank.

The additions are parametrisations of the weights, so that the network's own code runs as it is; `merge` makes plain weights of
them. B starts at 0, and so does the addition; A starts as torch's linear layers do. There is no further scale (alpha = rank).
"""

import math
import re
from typing import cast

import torch
from jaxtyping import Float
from torch import nn
from torch.nn.utils import parametrize

from certflow.models.fitting import head

FUSED = re.compile(r"(?:^|\.)qkv$")
"""A linear layer that makes queries, keys and values."""
SINGLE = re.compile(r"(?:^|\.)(?:query|value|q_proj|v_proj)$")
"""Layers of their own for queries and values (transformers)."""

IN_TURN = {
    "timm.layers.attention": ("Attention", "AttentionRope"),
    "timm.layers.attention_pool2d": ("AttentionPool2d", "RotAttentionPool2d"),
    "timm.layers.diff_attention": ("DiffAttention",),
    "timm.models.beit": ("Attention",),
    "timm.models.cait": ("TalkingHeadAttn",),
    "timm.models.coat": ("FactorAttnConvRelPosEnc",),
    "timm.models.convit": ("MHSA",),
    "timm.models.davit": ("ChannelAttention", "ChannelAttentionV2", "WindowAttention"),
    "timm.models.edgenext": ("CrossCovarianceAttn",),
    "timm.models.eva": ("EvaAttention",),
    "timm.models.fastvit": ("Attention",),
    "timm.models.hiera": ("MaskUnitAttention",),
    "timm.models.hieradet_sam2": ("MultiScaleAttention",),
    "timm.models.metaformer": ("Attention",),
    "timm.models.mvitv2": ("MultiScaleAttention",),
    "timm.models.nest": ("Attention",),
    "timm.models.swin_transformer": ("WindowAttention",),
    "timm.models.swin_transformer_v2": ("WindowAttention",),
    "timm.models.swin_transformer_v2_cr": ("WindowMultiHeadAttention",),
    "timm.models.twins": ("LocallyGroupedAttn",),
    "timm.models.vision_transformer_relpos": ("RelPosAttention",),
    "timm.models.vision_transformer_sam": ("Attention",),
    "timm.models.volo": ("Attention",),
    "timm.models.xcit": ("XCA",),
    "transformers.models.hiera.modeling_hiera": ("HieraMaskUnitAttention",),
}
"""Attention, by module, whose layer `qkv` makes the queries of all heads, then all keys, then all values. Elsewhere those of
one head come together (TinyViT, EfficientFormer, MaxViT), or there are no queries (GCViT)."""


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
    for name in filter(FUSED.search, layers):
        owner = type(network.get_submodule(name.rpartition(".")[0]))
        if owner.__name__ not in IN_TURN.get(owner.__module__, ()):
            return (
                f"mode lora: of the layer {name} ({owner.__module__}.{owner.__name__}) it is not known that all queries come "
                "first, then all keys, then all values; use mode full"
            )
    least = min(layer.in_features for layer in layers.values())
    return f"rank must be at most the attention's width {least}, got {rank}" if rank > least else None


def heads(network: nn.Module) -> list[nn.Linear]:
    """The last linear layer, and those beside it with as many outputs, as distilled networks have them; ValueError for none."""
    last = head(network)
    if last is None:
        raise ValueError("the network has no linear layer that could be its head")
    name = last.removesuffix(".weight")
    beside = network.get_submodule(name.rpartition(".")[0]).children()
    classes = cast(nn.Linear, network.get_submodule(name)).out_features
    return [layer for layer in beside if isinstance(layer, nn.Linear) and layer.out_features == classes]


def add(network: nn.Module, rank: int) -> None:
    """Adapt a network in place: the additions and the head (`heads`) learn, all else is frozen.

    A is drawn from torch's generator, layer by layer. ValueError for a network that cannot be adapted (`problem`).
    """
    wrong = problem(network, rank)
    if wrong is not None:
        raise ValueError(wrong)
    network.requires_grad_(False)
    for layer in heads(network):
        layer.requires_grad_(True)
    for name, layer in targets(network).items():
        form = QueryValue if FUSED.search(name) else Addition
        parametrize.register_parametrization(layer, "weight", form(*layer.weight.shape, rank))


def merge(network: nn.Module) -> None:
    """Replace adapted weights by plain ones of the same values, in place; a network without additions stays as it is."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
