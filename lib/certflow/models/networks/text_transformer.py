"""A small transformer for texts (Vaswani et al. 2017; normalisation before each part as Xiong et al. 2020)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import nn

from certflow.data.items import PADDING
from certflow.data.text.words import SPECIAL
from certflow.models import words

State = tuple[Float[torch.Tensor, "rows tokens width"], Bool[torch.Tensor, "rows tokens"]]
"""What goes from block to block: the tokens' vectors, and which of them count."""


class Embedding(nn.Module):
    """Tokens as vectors: of the word, plus of its place."""

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)

    def forward(self, x: Int[torch.Tensor, "rows tokens"]) -> Float[torch.Tensor, "rows tokens width"]:
        return self.words(x) + self.places


class Attention(nn.Module):
    """Every token looks at all that count."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.given, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self, x: Float[torch.Tensor, "rows tokens width"], seen: Bool[torch.Tensor, "rows tokens"]
    ) -> Float[torch.Tensor, "rows tokens width"]:
        q, k, v = self.given(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
        return self.out(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two linear layers for each token; both are added to what came in."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float):
        super().__init__()
        self.attention, self.before = Attention(width, heads), nn.LayerNorm(width)
        self.linear = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: State) -> State:
        x, seen = state
        x = x + self.dropout(self.attention(self.before(x), seen))
        return x + self.dropout(self.linear(x)), seen


class TextTransformer(nn.Module):
    """Blocks on the embedded tokens, the mean over those that count, and a linear layer."""

    def __init__(self, vocabulary: int, length: int, classes: int, width: int, depth: int, heads: int, dropout: float):
        super().__init__()
        self.embedding = Embedding(vocabulary, length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, 2 * width, dropout) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    special_tokens = frozenset(range(SPECIAL))
    """Tokens that are not words."""

    @property
    def word_embedding(self) -> nn.Embedding:
        """The vectors of words, before anything else is added."""
        return self.embedding.words

    def forward(self, x: Int[torch.Tensor, "rows tokens"]) -> Float[torch.Tensor, "rows classes"]:
        found, _ = self.blocks((self.embedding(x), words.seen(x)))
        return self.head(words.mean(self.norm(found), x != PADDING))
