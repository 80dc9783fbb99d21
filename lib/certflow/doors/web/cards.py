"""The models that can be certified, as pages show them: those of the pipeline, and those brought along."""

import hashlib
import math
import time
from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from certflow.data.base import DatasetSpec
from certflow.doors import catalogue
from certflow.doors.web.brought import ONNX, read_card
from certflow.errors import CertflowError
from certflow.files.artefact import read_table
from certflow.kinds.registry import revive
from certflow.noise.base import NoiseSpec
from certflow.report.metrics import certified_accuracy

FRESH = 2.0
"""Seconds for which a listing is not made again."""
BEHIND = "-"
"""Stands between the ids of a classifier and of the model whose denoiser stands before it."""
SHOWN = (0.25, 0.5)
"""Radii whose certified accuracy a card shows."""


@dataclass(frozen=True)
class Result:
    """What a certificate table of the pipeline says about a model."""

    name: str
    images: int
    accuracy: float
    """Share of images that are certified as their class at any radius."""
    at: Mapping[float, float]
    """Radius → certified accuracy."""
    norm: str
    """The norm of the radii."""


@dataclass(frozen=True)
class Card:
    """One model."""

    id: str
    path: Path
    source: str
    """`pipeline` or `brought`."""
    title: str
    dataset: DatasetSpec | None
    """The data it was trained on, where these are known."""
    shape: tuple[int, ...]
    classes: int
    noise: NoiseSpec
    facts: Mapping[str, str]
    """What it is, for people."""
    size: int
    modified: float
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    result: Result | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    """How it was brought (source `brought`)."""
    denoises: bool = False
    """Whether it has a denoiser."""
    behind: "Card | None" = None
    """The model whose denoiser was put before it, if one was."""

    @property
    def dim(self) -> int:
        """Number of coordinates of an image."""
        return math.prod(self.shape)

    @property
    def alone(self) -> str:
        """The id of the classifier by itself."""
        return self.id.partition(BEHIND)[0]

    @property
    def is_torch(self) -> bool:
        """Whether it is a torch module: such models have gradients, and take a denoiser before them."""
        return self.path.suffix != ONNX

    def fits_behind(self, other: "Card") -> bool:
        """Whether it can be put behind the denoiser of another one."""
        alone = self.is_torch and not self.denoises and self.behind is None
        return alone and other.denoises and self.shape == other.shape

    def put_behind(self, other: "Card") -> "Card":
        """It with the denoiser of another one before it, under that one's noise."""
        return replace(
            self,
            id=f"{self.id}{BEHIND}{other.id}",
            title=f"{self.title} behind a denoiser",
            noise=other.noise,
            facts={
                **self.facts,
                "noise": other.facts["noise"],
                "denoiser": f"of {other.title}, {other.facts['noise']}",
            },
            warnings=(*self.warnings, *other.warnings),
            result=None,
            behind=other,
        )

    def named(self, number: int) -> str:
        """What people call a class."""
        return self.class_names[number] if 0 <= number < len(self.class_names) else str(number)

    def under(self, sigma: float | None) -> NoiseSpec:
        """Its noise, at another level where one is given."""
        return self.noise if sigma is None else self.noise.model_copy(update={"sigma": sigma})


class Cards:
    """All models below the results, looked up anew every now and then: the workflow may be writing there."""

    def __init__(self, results: Path, own: Path):
        self.results, self.own = results, own
        self._listed: tuple[float, dict[str, Card]] = (-math.inf, {})

    def all(self) -> list[Card]:
        """Every model, the pipeline's first."""
        when, cards = self._listed
        if time.monotonic() - when > FRESH:
            cards = {card.id: card for card in (*self._pipeline(), *self._brought())}
            self._listed = (time.monotonic(), cards)
        return list(cards.values())

    def get(self, name: str) -> Card:
        """The model of that id, or of two: a classifier and the model whose denoiser stands before it. KeyError where there is
        none."""
        self.all()
        first, joined, second = name.partition(BEHIND)
        card = self._listed[1][first]
        if not joined:
            return card
        other = self._listed[1][second]
        if not card.fits_behind(other):
            raise KeyError(name)
        return card.put_behind(other)

    def denoisers(self, card: Card) -> list[Card]:
        """The models whose denoiser can be put before this one."""
        return [other for other in self.all() if card.fits_behind(other)]

    def forget(self) -> None:
        """List anew at the next question."""
        self._listed = (-math.inf, {})

    def _pipeline(self) -> Iterator[Card]:
        for entry in catalogue.models(self.results):
            try:
                yield _pipeline_card(entry, self.results)
            except (CertflowError, KeyError, ValueError):  # of another version of the code; `certflow models` lists it
                continue

    def _brought(self) -> Iterator[Card]:
        for path in sorted((self.own / "models").glob("*/card.json")):
            try:
                yield read_card(path)
            except (CertflowError, KeyError, ValueError, OSError):
                continue


def card_id(*parts: str) -> str:
    """12 letters that name a model by what it is and where it lies."""
    found = hashlib.sha256("\n".join(parts).encode()).digest()
    return b32encode(found).decode().lower()[:12]


def noise_name(noise: NoiseSpec) -> str:
    """A noise as people write it."""
    if noise.sigma == 0:
        return "no noise"
    own = noise.model_dump(exclude={"kind", "sigma"})
    more = "".join(f", {name} = {value:g}" for name, value in own.items() if isinstance(value, int | float))
    return f"{noise.kind.replace('_', ' ')}, σ = {noise.sigma:g}{more}"


def _pipeline_card(entry: catalogue.Entry, results: Path) -> Card:
    made = entry.made
    dataset, noise = revive("dataset", made["dataset"]), revive("noise", made["noise"])
    info = dataset.info()
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
    tables = sorted(path for path in folder.glob("*/*/*.tsv") if path.is_file())
    found = [result for path in tables if (result := _table(path, path.stat().st_mtime, model)) is not None]
    return max(found, key=lambda result: result.images, default=None)


@lru_cache(maxsize=1024)
def _table(path: Path, changed: float, model: str) -> Result | None:
    """What a table says; None where it is damaged, of a model that lay here before, or of other images than the test split's
    own: corrupted copies are more, and are not what the model's numbers are about."""
    try:
        table, record = read_table(path, format="certificate")
    except CertflowError:
        return None
    images, claim = record.spec.get("images", {}), record.notes.get("claim", {})
    if record.parents.get("model") != model or not len(table) or "norm" not in claim:
        return None
    if images.get("split") != "test" or "corruption" in images:
        return None
    accuracy, *shares = certified_accuracy(table["correct"], table["radius"], (0.0, *SHOWN)).tolist()
    at = dict(zip(SHOWN, shares, strict=True))
    return Result(path.stem, len(table), accuracy, at, str(claim["norm"]))
