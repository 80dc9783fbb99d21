"""Words replaced by near ones, greedily: an attack on classifiers of texts that needs no list of synonyms."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.attacks.base import AttackSpec
from certflow.kinds.registry import register


@register("substitution")
class Substitution(AttackSpec):
    """Words are ranked by the loss without them; each in turn gives way to a neighbour in the classifier's own table of words.

    It is not TextFooler, whose synonyms and sentence encoder must be downloaded: neighbours in a learnt table need not mean the
    same. The accuracy that it leaves is an upper bound for greedier searches, not a statement about meaning.
    """

    kind: Literal["substitution"] = "substitution"
    accepts: ClassVar[frozenset[str]] = frozenset({"tokens"})
    example: ClassVar[dict[str, Any]] = {"eps": [0.25], "candidates": 3, "queries": 40}

    norm: Literal["share", "words"] = "share"
    """What `eps` counts: the share of a text's words that may be replaced, rounded down to whole words, or their number."""
    candidates: int = Field(8, ge=1, le=1000)
    """Nearest words that are tried for each word."""
    queries: int = Field(300, ge=2, le=100_000)
    """Most texts that are shown to the network for each text, the ranking included."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.norm == "share" and self.eps[-1] > 1:
            raise ValueError(f"eps: shares of a text's words are at most 1, got {self.eps[-1]:g}; or set norm: words")
        return self

    @property
    def passes(self) -> int:
        """At most `queries`."""
        return self.queries

    def attempt(self, target: Any, number: int) -> Any:
        """See `AttackSpec.attempt`."""
        from certflow.attacks.texts import substitute, within_share
        from certflow.data.items import PADDING

        allowed = target.eps.floor().long()
        if self.norm == "share":
            allowed = within_share(target.eps, (target.x != PADDING).sum(1))
        return substitute(target, allowed, self.candidates, self.queries)

    def distance(self, found: Any, x: Any) -> Any:
        """See `AttackSpec.distance`: words replaced, or their share."""
        from certflow.attacks.texts import replaced_words
        from certflow.data.items import PADDING

        changed = replaced_words(found, x).double()
        return changed if self.norm == "words" else changed / (x != PADDING).sum(1).clamp(min=1)
