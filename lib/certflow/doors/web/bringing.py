"""S6: upload a model. The doctor examines it before it is listed."""

import re
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as BaseResponse

from certflow.config.validation import validated
from certflow.data.base import DatasetSpec
from certflow.doors.web import brought
from certflow.doors.web.brought import SUFFIXES, Described
from certflow.doors.web.card import ONNX
from certflow.doors.web.forms import Wrong
from certflow.doors.web.pages import card_of
from certflow.doors.web.settings import MEGABYTE
from certflow.doors.web.site import here
from certflow.doors.web.words import name_of
from certflow.doors.web.worker import Full
from certflow.doors.written import sizes
from certflow.errors import CertflowError, ConfigError
from certflow.kinds.registry import kinds, spec_class
from certflow.models.published import NAMES
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import norms_of

BRINGING = Blueprint("bringing", __name__)
ONE = threading.Lock()
"""Models are tried out one after the other."""
NUMBERS = re.compile(r"[\s,;]+")


@BRINGING.get("/models/new")
def new() -> str:
    """The form."""
    return _form()


@BRINGING.post("/models/new")
def bring() -> BaseResponse | tuple[str, int]:
    """Take the model in, or say at the fields what is wrong."""
    site = here()
    request.max_content_length = site.settings.model_bytes + MEGABYTE
    if not ONE.acquire(blocking=False):
        raise Full("Another model is being tried out. Send this one again in a moment.")
    try:
        file = _sent(request.files.get("file"))
        described, suffix = _described(request.form, file.filename or "")
        test = site.splits.test(described.dataset)
        made = brought.keep(file.save, suffix, described, test, site.settings.own)
    except Wrong as error:
        return _form(error.errors, request.form), 400
    except (CertflowError, ValueError, ImportError) as error:
        return _form({"file": _without_places(str(error), site.settings.own)}, request.form), 400
    finally:
        ONE.release()
    site.cards.forget()
    return redirect(url_for("bringing.about", name=made), 303)


@BRINGING.get("/models/<name>/doctor")
def about(name: str) -> str:
    """What the doctor found out about a model that was brought."""
    card = card_of(name)
    if card.source != "brought":
        abort(404, "The pipeline made this model; its report says how it does.")
    return render_template("doctor.html.j2", card=card, found=card.doctor)


@cache
def noises() -> tuple[str, ...]:
    """Kinds of noise whose only setting without a default is sigma, and of which radii are known."""
    return tuple(kind for kind in kinds("noise") if norms_of(kind) and _bare(kind))


@cache
def datasets() -> tuple[str, ...]:
    """Kinds of data that need no setting."""
    found = []
    for kind in kinds("dataset"):
        try:
            found.append(validated(spec_class("dataset", kind), {"kind": kind}).kind)
        except ConfigError:
            continue
    return tuple(found)


def _bare(kind: str) -> bool:
    try:
        spec_class("noise", kind).model_validate({"sigma": 0.5})
    except ValidationError:
        return False
    return True


def _sent(file: FileStorage | None) -> FileStorage:
    """The file of weights; `Wrong` where none was chosen."""
    if file is None or not file.filename:
        raise Wrong({"file": "choose a file of weights"})
    return file


def _described(form: Mapping[str, str], filename: str) -> tuple[Described, str]:
    """What the form says, and the ending of the file; `Wrong` at the fields."""
    errors: dict[str, str] = {}
    suffix = Path(filename.replace("\\", "/")).suffix.lower()
    if suffix not in SUFFIXES:
        errors["file"] = f"weights end in {', '.join(SUFFIXES)}"
    known = form.get("architecture", "").strip()
    if suffix != ONNX:
        _noted(errors, "architecture", lambda: brought.architecture(known))
    noise = _noted(errors, "sigma", lambda: _noise(form))
    dataset = _noted(errors, "dataset", lambda: _dataset(form.get("dataset", "")))
    shape = _noted(errors, "shape", lambda: _whole(form.get("shape", ""), 3))
    classes = _noted(errors, "classes", lambda: _whole(form.get("classes", ""), 1))
    options = {key: _noted(errors, key, lambda key=key: _decimals(form.get(key, ""))) for key in ("mean", "sd")}
    if errors:
        raise Wrong(errors)
    names = tuple(name for part in form.get("class_names", "").split(",") if (name := name_of(part)))
    return Described(
        name=name_of(form.get("name", "")) or name_of(Path(filename).stem),
        architecture="" if suffix == ONNX else known,
        noise=noise,
        dataset=dataset,
        shape=dataset.info().shape if dataset else shape,
        classes=dataset.info().classes if dataset else classes[0] if classes else None,
        class_names=names,
        options={key: value for key, value in options.items() if value is not None},
    ), suffix


def _noted(errors: dict[str, str], field: str, made: Any) -> Any:
    """What `made` returns; its error is noted at the field."""
    try:
        return made()
    except ConfigError as error:
        errors[field] = error.inline
    except (CertflowError, ValueError) as error:
        errors[field] = str(error)
    return None


def _noise(form: Mapping[str, str]) -> NoiseSpec:
    kind = form.get("noise", "gaussian")
    if kind not in noises():
        raise ValueError(f"choose one of {', '.join(noises())}")
    try:
        sigma = float(form.get("sigma", ""))
    except ValueError:
        raise ValueError("give the noise level as a number, such as 0.25 (pixels from 0 to 1)") from None
    return validated(spec_class("noise", kind), {"kind": kind, "sigma": sigma})


def _dataset(kind: str) -> DatasetSpec | None:
    if not kind:
        return None
    if kind not in datasets():
        raise ValueError(f"choose one of {', '.join(datasets())}, or none of them")
    return validated(spec_class("dataset", kind), {"kind": kind})


def _whole(text: str, count: int) -> tuple[int, ...] | None:
    parts = [part for part in NUMBERS.split(text.strip()) if part]
    if not parts:
        return None
    found = sizes(parts, count)
    if found is None:
        wanted = "channels, height and width, such as 3 32 32" if count == 3 else "a whole number"
        raise ValueError(f"give {wanted}")
    return found


def _decimals(text: str) -> tuple[float, ...] | None:
    parts = [part for part in NUMBERS.split(text.strip()) if part]
    try:
        return tuple(map(float, parts)) or None
    except ValueError:
        raise ValueError("give one number for each channel, such as 0.49 0.48 0.45") from None


def _without_places(text: str, own: Path) -> str:
    """A message without the place where the file lay for a moment."""
    return re.sub(rf"{re.escape(str(own))}/models/\w+/weights(\.\w+)*", "the file", text)


def _form(errors: dict[str, str] | None = None, given: Any = None) -> str:
    return render_template(
        "new.html.j2",
        errors=errors or {},
        given=given or {},
        architectures=sorted({*NAMES, *kinds("model")}),
        noises=noises(),
        datasets=datasets(),
        suffixes=SUFFIXES,
        limit=here().settings.model_bytes // MEGABYTE,
    )
