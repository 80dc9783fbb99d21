"""A vocabulary of whole words, learnt from texts. It needs no library and no file."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from certflow.kinds.spec import digest

UNKNOWN, SEPARATOR, SPECIAL = 1, 2, 3
"""Tokens of words that are not in the vocabulary, and between two texts; the number of the first word."""


def split_words(text: str) -> list[str]:
    """Runs of letters and digits in lower case, and every other mark by itself. An accent belongs to its letter (NFC), however
    the text writes it."""
    return re.findall(r"\w+|[^\w\s]", unicodedata.normalize("NFC", text.lower()))


@dataclass(frozen=True)
class Words:
    """Whole words, by their place in `words`."""

    words: Sequence[str]
    number: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "number", {word: SPECIAL + place for place, word in enumerate(self.words)})

    @classmethod
    def learnt(cls, texts: Iterable[str], size: int) -> "Words":
        """The size - SPECIAL most frequent words of these texts; of equally frequent ones the first in the alphabet."""
        counts = Counter(word for text in texts for word in split_words(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[: size - SPECIAL]))

    def encode(self, text: str, pair: str | None, length: int) -> list[int]:
        """At most `length` tokens; of two texts the longer one is cut first."""
        first = [self.number.get(word, UNKNOWN) for word in split_words(text)]
        if pair is None:
            return first[:length]
        second = [self.number.get(word, UNKNOWN) for word in split_words(pair)]
        room = length - 1
        kept = max(room - len(second), min(len(first), (room + 1) // 2))
        first = first[:kept]
        return [*first, SEPARATOR, *second[: room - len(first)]]

    def record(self) -> dict[str, Any]:
        """What the dataset's manifest keeps: the words, so that tokens can be read again."""
        return {"kind": "words", "digest": digest(list(self.words)), "words": list(self.words)}
