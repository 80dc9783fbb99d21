"""Models made ready to be sampled: the last few stay in memory, so that the next image starts at once."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certflow.certify.memory import ready
from certflow.doors.bring import Brought, behind_denoiser_of, from_results
from certflow.doors.web.brought import load
from certflow.doors.web.card import Card
from certflow.doors.web.settings import Settings
from certflow.sampling.classifier import BaseClassifier


@dataclass(frozen=True)
class Ready:
    """A model in memory."""

    card: Card
    brought: Brought
    base: BaseClassifier


class ReadyModels:
    """At most `settings.models` models; the one that was not used for longest makes room."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.held: OrderedDict[str, Ready] = OrderedDict()
        self.rates: dict[str, float] = {}
        """Draws per second by model, as last measured."""

    def take(self, card: Card) -> Ready:
        """The model, loaded where it is not there. Errors as in `from_results` and `BaseClassifier`. For the worker's thread
        alone."""
        if card.id not in self.held:
            while len(self.held) >= self.settings.models:
                self.held.popitem(last=False)
            self.held[card.id] = self._loaded(card)
        self.held.move_to_end(card.id)
        return self.held[card.id]

    def measured(self, model: str, moment: Mapping[str, Any]) -> None:
        """Note how fast a model was, from the last moment of a job."""
        if moment["seconds"]:
            self.rates[model] = moment["drawn"] / moment["seconds"]

    def _loaded(self, card: Card) -> Ready:
        brought = brought_of(card)
        base = ready(
            brought.model,
            card.shape,
            classes=card.classes,
            device=self.settings.device,
            inference=brought.inference,
        )
        return Ready(card, brought, base)


def brought_of(card: Card) -> Brought:
    """The model of a card, behind the other one's denoiser where the card says so."""
    own = from_results(card.path) if card.source == "pipeline" else load(card)
    return own if card.behind is None else behind_denoiser_of(own, from_results(card.behind.path))
