"""Which layer of a network a parameter belongs to, read off its name: for learning rates that fall towards the input.

Fine-tuning changes the layers near the input less than the head: the rate of layer l of L is that of the head times decay^(L−l)
(BEiT, Bao et al. 2022; masked autoencoders, He et al. 2022).
"""

import re
from collections.abc import Iterable
from itertools import takewhile

import torch

BLOCK = re.compile(r"(?:^|\.)(?:block|layer|stage|h)s?\.?(\d+)\.")
"""`blocks.3.` (timm's transformers), `layer.3.`, `layers.3.` and `h.3.` (transformers), `layer1.` and `stages.0.`
(convolutional)."""
FIRST = re.compile(
    r"(?:^|\.)(?:patch_embed\w*|embeddings?|wte|wpe|\w+_token|pos_embed|position_embeddings|stem\w*|conv_stem)(?:\.|$)"
)
"""What stands before all blocks: embeddings of words, patches and positions, tokens, a convolutional stem."""
NUMBERED = re.compile(r"(?:^|\.)(?:conv1|bn1)(?:\.|$)")
"""A stem where it comes before the first block. (Wide residual networks call their last normalisation bn1, too.)"""
UNDECAYED = re.compile(
    r"(?:^|\.)(?:bias|\w+_token|(?:pos_embed|position_embeddings|wpe|embedding\.places)(?:\.weight)?)$"
)


def layers(names: Iterable[str]) -> dict[str, int]:
    """Parameter → its layer: 0 before the blocks, 1 to L for blocks, L + 1 for everything else, the head above all.

    A parameter within a block is of the outermost block that its name states. Blocks are numbered by rank. names: in the order
    in which the network registers its parameters.
    """
    names = list(names)
    blocks = {name: int(found[1]) for name in names if (found := BLOCK.search(name))}
    ranks = {number: rank for rank, number in enumerate(sorted(set(blocks.values())), 1)}
    before = set(takewhile(lambda name: name not in blocks, names))

    def layer(name: str) -> int:
        if name in blocks:
            return ranks[blocks[name]]
        stem = FIRST.search(name) or (name in before and NUMBERED.search(name))
        return 0 if stem else len(ranks) + 1

    return {name: layer(name) for name in names}


def rates(names: Iterable[str], decay: float) -> dict[str, float]:
    """Parameter → what its layer's learning rate is, in units of the head's."""
    found = layers(names)
    last = len({layer for name, layer in found.items() if BLOCK.search(name)}) + 1
    return {name: decay ** (last - layer) for name, layer in found.items()}


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay that is decoupled from the gradient applies: not to biases, normalisations, tokens, positions."""
    return parameter.ndim > 1 and UNDECAYED.search(name) is None
