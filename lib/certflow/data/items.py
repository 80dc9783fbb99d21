"""What is classified: an image of pixels, or a text of tokens. Each kind of item owns its form on disk and in a network.

Arrays tell their kind by their type: bytes are pixels, int32 are tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import torch

PADDING = 0
"""The token that fills a text up to its length. It stands for nothing, and no word has its number."""


@dataclass(frozen=True)
class Pixels:
    """An image: uint8 [channels, height, width] on disk, float32 in [0,1] before a network."""

    shape: tuple[int, ...]
    name: ClassVar[str] = "pixels"
    stored: ClassVar[str] = "|u1"

    def header(self) -> dict[str, Any]:
        """What the digest of a split's content says of its items besides their shape."""
        return {}

    def problem(self, block: np.ndarray) -> str | None:
        """Why a block of stored items [n, *shape] cannot be; None: it can."""
        return None


@dataclass(frozen=True)
class Tokens:
    """A text: int32 [length] on disk, int64 before a network; numbers below `vocabulary`, `PADDING` after the last word."""

    shape: tuple[int, ...]
    vocabulary: int
    name: ClassVar[str] = "tokens"
    stored: ClassVar[str] = "<i4"

    def header(self) -> dict[str, Any]:
        """See `Pixels.header`."""
        return {"vocabulary": self.vocabulary}

    def problem(self, block: np.ndarray) -> str | None:
        """See `Pixels.problem`."""
        unknown = block[(block < 0) | (block >= self.vocabulary)]
        if unknown.size:
            return f"holds token {unknown[0]}, but the vocabulary has the tokens 0 to {self.vocabulary - 1}"
        return None


Item = Pixels | Tokens


def name_of(stored: Any) -> str:
    """`pixels` or `tokens`, of an array or tensor of stored items."""
    return Pixels.name if str(stored.dtype).removeprefix("torch.") == "uint8" else Tokens.name


def network_input(stored: "torch.Tensor") -> "torch.Tensor":
    """Stored items as a network takes them: bytes in [0,1] as float32, tokens as int64."""
    from certflow.data.augmentation import to_unit

    return to_unit(stored) if name_of(stored) == Pixels.name else stored.long()


def counting(x: "torch.Tensor") -> "torch.Tensor | None":
    """bool [rows, tokens]: which tokens of a network's input are not padding; None for pixels, which all count."""
    return None if x.is_floating_point() else x != PADDING
