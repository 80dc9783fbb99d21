"""The models that there are: those of the pipeline, and those uploaded."""

import hashlib
import math
import threading
import time
from base64 import b32encode
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from certflow.doors import catalogue
from certflow.doors.web.brought import CARD, MODELS, read_card
from certflow.doors.web.card import BEHIND, Card, Result, noise_name
from certflow.errors import CertflowError
from certflow.files.artefact import read_table
from certflow.kinds.registry import revive
from certflow.report.decided import known_at, preset_of
from certflow.report.metrics import certified_accuracy

FRESH = 2.0
"""Seconds for which a listing is not made again."""
SHOWN = (0.25, 0.5)
"""Radii whose certified accuracy a card shows."""


class Cards:
    """All models below the results, looked up anew every now and then: the workflow may be writing there."""

    def __init__(self, results: Path, own: Path):
        self.results, self.own, self.lock = results, own, threading.Lock()
        self._listed: tuple[float, dict[str, Card]] = (-math.inf, {})

    def all(self) -> list[Card]:
        """Every model, the pipeline's first."""
        return list(self._by_id().values())

    def get(self, name: str) -> Card:
        """The model of that id, or of two: a classifier and the model whose denoiser stands before it. KeyError where there is
        none."""
        cards = self._by_id()
        first, joined, second = name.partition(BEHIND)
        card = cards[first]
        if not joined:
            return card
        other = cards[second]
        if not card.fits_behind(other):
            raise KeyError(name)
        return card.put_behind(other)

    def denoisers(self, card: Card) -> list[Card]:
        """The models whose denoiser can be put before this one."""
        return [other for other in self.all() if card.fits_behind(other)]

    def forget(self) -> None:
        """List anew at the next question, even where somebody is listing now."""
        with self.lock:
            self._listed = (-math.inf, {})

    def _by_id(self) -> dict[str, Card]:
        with self.lock:
            when, cards = self._listed
            if time.monotonic() - when > FRESH:
                cards = {card.id: card for card in (*self._pipeline(), *self._brought())}
                self._listed = (time.monotonic(), cards)
            return cards

    def _pipeline(self) -> Iterator[Card]:
        for entry in catalogue.models(self.results):
            try:
                card = _pipeline_card(entry, self.results)
                if card is not None:
                    yield card
            except (CertflowError, KeyError, ValueError):  # of another version of the code; `certflow models` lists it
                continue

    def _brought(self) -> Iterator[Card]:
        for path in sorted((self.own / MODELS).glob(f"*/{CARD}")):
            try:
                yield read_card(path)
            except (CertflowError, KeyError, ValueError, OSError):
                continue


def card_id(*parts: str) -> str:
    """12 letters that name a model by what it is and where it lies."""
    found = hashlib.sha256("\n".join(parts).encode()).digest()
    return b32encode(found).decode().lower()[:12]


def _pipeline_card(entry: catalogue.Entry, results: Path) -> Card | None:
    """None for a model of texts, which have no radii."""
    made = entry.made
    dataset, noise = revive("dataset", made["dataset"]), revive("noise", made["noise"])
    info = dataset.info()
    if info.vocabulary is not None:
        return None
    below = entry.path.relative_to(results / "train").parent
    names = list(below.parts) if len(below.parts) == 5 else list(entry.names.values())
    facts = dict(zip(("data", "network", "method", "noise", "seed"), names, strict=False))
    facts |= {"noise": noise_name(noise), "seed": str(made.get("seed", 0))}
    return Card(
        id=card_id(str(below), entry.identity),
        path=entry.path,
        source="pipeline",
        title=f"{facts['data']} · {facts['method']}",
        dataset=dataset,
        shape=info.shape,
        classes=info.classes,
        noise=noise,
        facts=facts,
        size=entry.size,
        modified=entry.modified.timestamp(),
        class_names=dataset.names(),
        warnings=entry.warnings,
        denoises="denoiser" in made.get("parts", {}),
        result=_result(results / "certificates" / below, entry.identity),
    )


def _result(folder: Path, model: str) -> Result | None:
    """The largest intact certificate table of test images for the model of that identity; None where there is none."""
    found = []
    for path in sorted(folder.glob("*/*/*.tsv")):
        # The workflow may be deleting it, or be about to write its record.
        with suppress(OSError, CertflowError):
            found.append(_table(path, path.stat().st_mtime, model))
    return max(filter(None, found), key=lambda result: result.images, default=None)


@lru_cache(maxsize=1024)
def _table(path: Path, changed: float, model: str) -> Result | None:
    """What a table says; None where it is of a model that lay here before, or of other images than the test split's own:
    corrupted copies are more, and are not what the model's numbers are about. Errors, which are not remembered, where it or
    its record is damaged or not whole yet."""
    table, record = read_table(path, format="certificate")
    images, claim = record.spec.get("images", {}), record.notes.get("claim", {})
    if record.parents.get("model") != model or not len(table) or "norm" not in claim:
        return None
    if images.get("split") != "test" or "corruption" in images:
        return None
    accuracy, *shares = certified_accuracy(table["correct"], table["radius"], (0.0, *SHOWN)).tolist()
    known = known_at(preset_of(record.spec), SHOWN)
    at = {radius: share for radius, share, so in zip(SHOWN, shares, known, strict=True) if so}
    return Result(len(table), accuracy, at, str(claim["norm"]))
