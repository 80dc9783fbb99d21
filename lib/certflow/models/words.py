"""The vectors that a network has for words: read, and replaced by others for one pass.

Tokens are not points between which one could move; attacks and regularisers that follow gradients move these vectors instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import nn


def word_embedding(network: nn.Module) -> nn.Embedding:
    """The layer from tokens [rows, length] to vectors [rows, length, width]; ValueError for a network of anything but texts."""
    for module in (network, *network.children()):
        found = getattr(module, "word_embedding", None)
        if found is not None:
            return found
    raise ValueError(f"{type(network).__name__} has no `word_embedding`: it does not take texts")


def vectors(network: nn.Module, tokens: Int[torch.Tensor, "rows length"]) -> Float[torch.Tensor, "rows length width"]:
    """The vector of each token; gradients reach the network's table of words."""
    return word_embedding(network)(tokens)


@contextmanager
def replaced(network: nn.Module, values: Float[torch.Tensor, "rows length width"]) -> Iterator[None]:
    """Within this context the network sees these vectors in place of those of the tokens that it is given."""
    handle = word_embedding(network).register_forward_hook(lambda module, given, output: values.to(output.dtype))
    try:
        yield
    finally:
        handle.remove()
