"""A small transformer for texts, trained from scratch."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.data.base import DataInfo
from certflow.kinds.registry import register
from certflow.models.base import ModelSpec

if TYPE_CHECKING:
    import torch


@register("text_transformer")
class TextTransformer(ModelSpec):
    """Learnt vectors of words and places, blocks of attention with normalisation first, the mean over words, a head."""

    kind: Literal["text_transformer"] = "text_transformer"
    revision: ClassVar[int] = 2
    accepts: ClassVar[frozenset[str]] = frozenset({"tokens"})
    natural: ClassVar[tuple[int, ...]] = (24,)
    words: ClassVar[int] = 500

    width: int = Field(64, ge=4, le=4096)
    """Coordinates of a token's vector."""
    depth: int = Field(2, ge=1, le=48)
    """Number of blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; they share the width."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of each part's outputs that training leaves out at random."""

    @model_validator(mode="after")
    def _shared(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} cannot share a width of {self.width}; it must be a multiple")
        return self

    def backbone(self, info: DataInfo) -> "torch.nn.Module":
        from certflow.models.networks.text_transformer import TextTransformer

        (length,) = info.shape
        return TextTransformer(info.words, length, info.classes, self.width, self.depth, self.heads, self.dropout)
