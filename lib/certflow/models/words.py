"""The vectors that a network has for words: read, and replaced by others for one pass.

Tokens are not points between which one could move; attacks and regularisers that follow gradients move these vectors instead.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from certflow.data.items import PADDING


class OfTexts(Protocol):
    """What a backbone that takes texts has besides its `forward`."""

    word_embedding: nn.Embedding
    special_tokens: frozenset[int]


def word_embedding(network: nn.Module) -> nn.Embedding:
    """The layer from tokens [rows, length] to vectors [rows, length, width]; ValueError for a network of anything but texts."""
    return _of_texts(network).word_embedding


def special_tokens(network: nn.Module) -> frozenset[int]:
    """Tokens that are not words: padding, marks of unknown words and of the ends of texts."""
    return _of_texts(network).special_tokens


def reserve(network: nn.Module, tokens: Iterable[int]) -> None:
    """From now on these tokens of the network are not words either, such as numbers that no word of the data has."""
    backbone = _of_texts(network)
    backbone.special_tokens = backbone.special_tokens.union(tokens)


def _of_texts(network: nn.Module) -> OfTexts:
    for module in (network, *network.children()):
        if hasattr(module, "word_embedding"):
            return cast(OfTexts, module)
    raise ValueError(f"{type(network).__name__} has no `word_embedding`: it does not take texts")


def vectors(network: nn.Module, tokens: Int[torch.Tensor, "rows length"]) -> Float[torch.Tensor, "rows length width"]:
    """The vector of each token; gradients reach the network's table of words."""
    return word_embedding(network)(tokens)


def seen(tokens: Int[torch.Tensor, "rows length"]) -> Bool[torch.Tensor, "rows length"]:
    """Which tokens attention looks at: the first one, since a softmax over nothing is not a number, and all others but
    padding."""
    counts = tokens != PADDING
    return torch.cat([torch.ones_like(counts[:, :1]), counts[:, 1:]], dim=1)


def mean(values: Float[torch.Tensor, "rows length width"], counts: torch.Tensor) -> Float[torch.Tensor, "rows width"]:
    """The mean of each row's vectors over the tokens that count (not 0 in `counts`, [rows, length]); 0 where none does."""
    weight = counts.to(values.dtype)[..., None]
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)


@contextmanager
def replaced(network: nn.Module, values: Float[torch.Tensor, "rows length width"]) -> Iterator[None]:
    """Within this context the network sees these vectors in place of those of the tokens that it is given."""
    handle = word_embedding(network).register_forward_hook(lambda module, given, output: values.to(output.dtype))
    try:
        yield
    finally:
        handle.remove()
