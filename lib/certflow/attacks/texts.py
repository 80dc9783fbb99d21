"""Classifiers of texts under attack, and words replaced by words that the classifier holds near to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int

from certflow.attacks.target import Target
from certflow.data.items import PADDING
from certflow.errors import NonFiniteError
from certflow.models.words import special_tokens, word_embedding
from certflow.noise.base import NoiseSpec
from certflow.noise.kinds.none import NoNoise
from certflow.sampling.settings import engine_settings
from certflow.training import losses
from certflow.training.fast.frozen import frozen

ROWS = 64
"""Texts that are judged in one pass, always the same number: another number of rows may round differently."""

Text = Int[torch.Tensor, " length"]


@dataclass(frozen=True)
class TextVictim:
    """A classifier of texts: what `certflow.attacks.victim.Victim` is for images. There is no noise, and it judges itself."""

    model: torch.nn.Module
    seed: int

    @property
    def noise(self) -> NoiseSpec:
        """No noise: texts are judged as they are."""
        return NoNoise()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this context the network is in eval mode and its parameters get no gradients."""
        with engine_settings(), frozen(self.model):
            yield

    def taken(self, texts: torch.Tensor) -> torch.Tensor:
        """Texts as the model takes them."""
        return texts.to(self.device, torch.int64)

    def at_once(self, copies: int) -> int:
        """Texts of one batch of attempts."""
        return ROWS

    @torch.inference_mode()
    def plain_classes(self, x: torch.Tensor, index: np.ndarray) -> np.ndarray:
        """int64 [texts]: their classes; of equal logits the first."""
        found = []
        with self.held():
            for rows in x.split(ROWS):
                filled = torch.cat([rows, rows[-1:].expand(ROWS - len(rows), -1)])
                found.append(self.model(filled)[: len(rows)])
        logits = torch.cat(found)
        bad = (~logits.isfinite()).any(1).nonzero()
        if len(bad):
            raise NonFiniteError(
                f"text {int(index[int(bad[0])])}: the model's outputs are NaN or infinite; check its weights"
            )
        return logits.argmax(1).cpu().numpy()


def replaced_words(found: torch.Tensor, x: torch.Tensor) -> Int[torch.Tensor, " texts"]:
    """How many words of each text are others."""
    return (found != x).sum(1)


def within_share(
    share: Float64[torch.Tensor, " texts"], words: Int[torch.Tensor, " texts"]
) -> Int[torch.Tensor, " texts"]:
    """The largest numbers of words that are at most this share of so many: 29 of 100 at 0.29, although the product is less."""
    found = (share * words).floor()
    return (found + ((found + 1) / words <= share)).long()


def words_of(network: torch.nn.Module, x: torch.Tensor) -> Bool[torch.Tensor, "texts length"]:
    """Which tokens are words, and neither padding nor marks such as separators."""
    special = torch.tensor(sorted(special_tokens(network)), device=x.device)
    return ~torch.isin(x, special)


def substitute(target: Target, limit: Int[torch.Tensor, " texts"], candidates: int, queries: int) -> torch.Tensor:
    """The texts with at most `limit` words replaced by one of their `candidates` nearest words each, greedily.

    Words are ranked by the loss of the text without them. In this order each gives way to the candidate of the largest loss, if
    that is larger than before, until the class is another one or `queries` texts have been tried (Jin et al. 2020, with
    neighbours in the classifier's own table of words). A function of each text alone.
    """
    rows = zip(target.x, target.y.tolist(), limit.tolist(), strict=True)
    near = Neighbours.of(target.model)
    return torch.stack([_substituted(target.model, near, x, y, words, candidates, queries) for x, y, words in rows])


@dataclass(frozen=True)
class Neighbours:
    """Which words a network's table holds near to which."""

    directions: Float[torch.Tensor, "tokens width"]
    special: list[int]

    @classmethod
    def of(cls, network: torch.nn.Module) -> "Neighbours":
        """Those of a network's own table of words."""
        table = word_embedding(network).weight.detach()
        return cls(F.normalize(table, dim=1), sorted(special_tokens(network)))

    def nearest(self, token: int, count: int) -> Int[torch.Tensor, " count"]:
        """The words of the smallest angles with a word, nearest first; neither itself nor marks."""
        near = self.directions @ self.directions[token]
        near[[token, *self.special]] = -2
        return near.topk(min(count, int((near > -2).sum()))).indices


@torch.no_grad()
def _substituted(
    network: torch.nn.Module, near: Neighbours, x: Text, y: int, limit: int, candidates: int, queries: int
) -> Text:
    places = words_of(network, x[None])[0].nonzero()[: queries - 1, 0]
    tried = x.expand(1 + len(places), -1).clone()
    tried[torch.arange(1, len(tried)), places] = PADDING
    odds, _ = _odds(network, tried, y)
    current, left = odds[0], queries - len(tried)
    for place in places[odds[1:].argsort(descending=True, stable=True)].tolist():
        if limit == 0 or left <= 0:
            break
        words = near.nearest(int(x[place]), min(candidates, left))
        if len(words) == 0:  # there is no other word
            break
        tried = x.expand(len(words), -1).clone()
        tried[:, place] = words
        odds, classes = _odds(network, tried, y)
        left, best = left - len(words), int(odds.argmax())
        if odds[best] > current:
            x, current, limit = tried[best], odds[best], limit - 1
            if classes[best] != y:
                break
    return x


def _odds(network: torch.nn.Module, texts: torch.Tensor, y: int) -> tuple[Float[torch.Tensor, " rows"], torch.Tensor]:
    """What grows as the cross-entropy of each text for the class y does, and its class."""
    logits = network(texts)
    return losses.log_odds(logits[None], texts.new_full((len(texts),), y))[0], logits.argmax(1)
