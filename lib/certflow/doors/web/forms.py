"""Forms and JSON to requests; what is wrong is said at the field it stands in."""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage

from certflow.certify.memory import problems
from certflow.config.validation import without_commas
from certflow.data.base import Split
from certflow.doors.web import pictures
from certflow.doors.web.asked import Draws, Picture, Sampled, Votes
from certflow.doors.web.card import Card
from certflow.doors.web.law import law_of
from certflow.doors.web.words import name_of
from certflow.doors.written import whole
from certflow.errors import CertflowError, DataError

R = TypeVar("R", Draws, Votes)
T = TypeVar("T")
UNNAMED = "image"
"""What a file without a name that can be shown is called."""
NAMES = {"way": "certificate", "n0": "first draws", "n": "draws"}
"""What forms call some fields."""


class Wrong(ValueError):
    """What is wrong with a form: field → sentence."""

    def __init__(self, errors: Mapping[str, str]):
        self.errors = dict(errors)
        super().__init__("; ".join(f"{NAMES.get(name, name)}: {text}" for name, text in self.errors.items()))


def noted(errors: dict[str, str], made: Callable[[], T]) -> T | None:
    """What `made` returns; where that is `Wrong`, its sentences are put among the errors."""
    try:
        return made()
    except Wrong as error:
        errors.update(error.errors)
        return None


@dataclass(frozen=True)
class Chosen:
    """An image and where it comes from."""

    pixels: np.ndarray
    picture: Picture


def draws_of(form: Mapping[str, Any], card: Card) -> Draws:
    """How to certify, of a form or JSON; empty fields have their defaults, the seed a random one. `Wrong` at the fields."""
    draws = _filled(Draws, form, card)
    try:
        found = problems(*law_of(draws, card).specs, card.dim)
    except (CertflowError, ValueError) as error:
        raise Wrong({"way": str(error)}) from None
    if found:
        raise Wrong({"way": "; ".join(found)})
    return draws


def votes_of(form: Mapping[str, Any], card: Card) -> Votes:
    """How to vote, of JSON, with defaults as in `draws_of`. `Wrong` at the fields."""
    asked = _filled(Votes, form, card)
    found = card.under(asked.sigma).exact_problems() if asked.arithmetic == "exact" else []
    if found:
        raise Wrong({"arithmetic": "; ".join(found)})
    return asked


def _filled(record: type[R], form: Mapping[str, Any], card: Card) -> R:
    """What a form says of a record's fields; a random seed where it says none."""
    given = {name: value for name in record.model_fields if (value := form.get(name)) not in (None, "")}
    truths = {name: f"should be a number, got {value}" for name, value in given.items() if isinstance(value, bool)}
    if truths:
        raise Wrong(truths)
    given = {name: _number(record, name, value) for name, value in given.items()}
    given.setdefault("seed", secrets.randbelow(1 << 63))
    if given.get("sigma") is not None and _same(given["sigma"], card.noise.sigma):
        del given["sigma"]
    try:
        return record.model_validate(given, strict=False)
    except ValidationError as error:
        raise Wrong({str(e["loc"][0]): e["msg"].removeprefix("Input ") for e in error.errors()}) from None


def _number(record: type[Sampled], name: str, value: Any) -> Any:
    """The text of a number as Python reads it; other values as they are."""
    wanted = record.model_fields[name].annotation
    return without_commas(value, wanted is int) if isinstance(value, str) and wanted is not str else value


def chosen(form: Mapping[str, Any], file: FileStorage | None, card: Card, test: Split | None, limit: int) -> Chosen:
    """The image of a form: a drawing or a file where there is one, else the number of a test image. `Wrong` at the field."""
    fit, invert = str(form.get("fit") or "crop"), bool(form.get("invert"))
    if fit not in pictures.FITS:
        raise Wrong({"fit": f"should be {' or '.join(pictures.FITS)}"})
    try:
        if file is not None and file.filename:
            name = name_of(file.filename.replace("\\", "/").rsplit("/", 1)[-1]) or UNNAMED
            drawn = form.get("from") == "draw"
            return uploaded(file.stream.read(limit + 1), name, card, fit, invert, limit, drawn=drawn)
        if form.get("base64"):
            return uploaded(
                _decoded(form["base64"]), name_of(str(form.get("name") or "")) or UNNAMED, card, fit, invert, limit
            )
    except CertflowError as error:
        raise Wrong({"file": str(error)}) from None
    return _test_image(form, card, test)


def _decoded(text: Any) -> bytes:
    """The bytes of base64; `Wrong` where that is none."""
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except ValueError:
        raise Wrong({"base64": "should be a whole image file in base64, as one text without line breaks"}) from None


def uploaded(data: bytes, name: str, card: Card, fit: str, invert: bool, limit: int, *, drawn: bool = False) -> Chosen:
    """An image file, or a drawing, of which nothing is cut off. `DataError` for anything else."""
    if len(data) > limit:
        raise DataError(f"{name}: is larger than {limit >> 20} MB; make it smaller first")
    made = pictures.rendered(data, name, card.shape, "squeeze" if drawn else fit, invert)
    source, called = ("drawing", "drawing") if drawn else ("upload", name)
    return Chosen(made.pixels, Picture(source=source, name=called, rendered=made.said))


def _test_image(form: Mapping[str, Any], card: Card, test: Split | None) -> Chosen:
    if test is None:
        raise Wrong({"file": "this model's test images are not here; choose a file"})
    given = next((value for name in ("number", "index") if (value := form.get(name)) not in (None, "")), "")
    index = whole(str(given), 0, len(test) - 1)
    if index is None:
        raise Wrong({"number": f"choose a test image, from 0 to {len(test) - 1}"})
    return from_test(test, index)


def from_test(test: Split, index: int) -> Chosen:
    """A test image. IndexError where there is none of that number."""
    picture = Picture(source="test", index=index, name=f"test image {index}", label=int(test.labels[index]))
    return Chosen(test.read(np.array([index]))[0], picture)


def _same(given: Any, sigma: float) -> bool:
    try:
        return float(given) == sigma
    except (TypeError, ValueError, OverflowError):
        return False
