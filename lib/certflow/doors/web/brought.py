"""Models that people bring to the application: weights and a card that says what they are, in a folder each."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.config.validation import validated
from certflow.data.base import DataInfo, DatasetSpec, Split
from certflow.doors.web.card import ONNX, Card, noise_name
from certflow.doors.web.jobs import ID, new_id
from certflow.doors.web.trial import BATCH_SECONDS, tried, tried_apart
from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import read_record, write_record
from certflow.files.intact import file_digest
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive, spec_class
from certflow.models.base import ModelSpec
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    from certflow.doors.bring import Brought
    from certflow.models.examination import Examination

FORMAT = "web model"
SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".ckpt", ".bin", ONNX)
"""Endings of files that are taken. Only the ending of a name that somebody gives is ever used."""
MODELS = "models"
"""Folder of the models below what the application keeps."""
CARD = "card.json"
"""The last file of a model that is taken in: a folder without it is none."""


@dataclass(frozen=True)
class Described:
    """What people say about a model that they bring."""

    name: str
    architecture: str
    """A name of `certflow.models.published.NAMES`, or a kind of model; not asked for ONNX files."""
    noise: NoiseSpec
    """What it was trained under."""
    dataset: DatasetSpec | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    class_names: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """mean, sd and weights, see `load_checkpoint`."""

    def plain(self) -> dict[str, Any]:
        """Plain values, for the card."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "noise": self.noise.canonical(),
            "dataset": None if self.dataset is None else self.dataset.canonical(),
            "shape": None if self.shape is None else list(self.shape),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "options": {key: list(value) if isinstance(value, tuple) else value for key, value in self.options.items()},
        }

    def info(self) -> DataInfo | None:
        """What is known of the images."""
        if self.dataset is not None:
            return self.dataset.info()
        if self.shape is None or self.classes is None:
            return None
        return DataInfo(classes=self.classes, shape=self.shape)


def keep(upload: Callable[[Path], None], suffix: str, described: Described, test: Split | None, own: Path) -> str:
    """Take a model in: write its file, try it out, and write its card; the name of its folder.

    upload writes the file to a place. test: images on which the doctor looks at it. Errors say what is wrong; then nothing
    stays on disk.
    """
    if suffix not in SUFFIXES:
        raise DataError(f"file: ends in {suffix or 'nothing'}; weights end in {', '.join(SUFFIXES)}")
    folder = own / MODELS / new_id()
    folder.mkdir(parents=True)
    try:
        path = folder / f"weights{suffix}"
        upload(path)
        described, found = _tried(path, described, test)
        record = Provenance(
            format=FORMAT,
            spec={"folder": folder.name, **described.plain()},
            parents={"weights": file_digest(path)},
            notes={
                "doctor": {} if found is None else _without_path(found.notes()),
                "warnings": [] if found is None else found.warnings,
                "file": path.name,
                "made": time.time(),
            },
        )
        write_record(folder / CARD, record)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder.name


def sweep(own: Path) -> None:
    """Delete folders that a kill left before a model was taken in: nobody would ever see their files again."""
    for folder in (own / MODELS).glob("*/"):
        if ID.fullmatch(folder.name) and not (folder / CARD).exists():
            shutil.rmtree(folder, ignore_errors=True)


def load(card: Card) -> "Brought":
    """The model of a card; `ArtefactError` where its file is not the one that was taken in."""
    record = _record(card.path.parent / CARD)
    if file_digest(card.path) != record.parents["weights"]:
        raise ArtefactError(f"{card.path}: is not the file that was uploaded; upload the model again")
    return _brought(card.path, _described(record.spec), None)


def read_card(path: Path) -> Card:
    """The card of a model that was brought."""
    record = _record(path)
    described = _described(record.spec)
    weights = path.parent / record.notes["file"]
    kind = "no data given" if described.dataset is None else described.dataset.kind
    info = described.info()
    if info is None:
        raise ArtefactError(f"{path}: does not say what images the model takes; upload the model again")
    facts = {"data": kind, "network": described.architecture or "ONNX", "method": "uploaded"}
    return Card(
        id=path.parent.name,
        path=weights,
        source="brought",
        title=described.name,
        dataset=described.dataset,
        shape=info.shape,
        classes=info.classes,
        noise=described.noise,
        facts=facts | {"noise": noise_name(described.noise)},
        size=weights.stat().st_size,
        modified=record.notes["made"],
        class_names=described.class_names or (() if described.dataset is None else described.dataset.names()),
        warnings=tuple(record.notes["warnings"]),
        doctor=record.notes["doctor"],
    )


def architecture(name: str) -> str | ModelSpec:
    """What `from_checkpoint` takes: a name of the papers' code, or the specification of a kind of model."""
    from certflow.kinds.registry import kinds
    from certflow.models.published import NAMES, named

    try:
        named(name)
    except ValueError:
        if name not in kinds("model"):
            known = ", ".join(dict.fromkeys([*NAMES, *kinds("model")]))
            what = f"{name!r} is not known" if name else "is not given"
            raise DataError(f"architecture: {what}; known: {known}") from None
        return validated(spec_class("model", name), {"kind": name})
    return name


def _tried(path: Path, described: Described, test: Split | None) -> tuple[Described, "Examination | None"]:
    """What is known of the model after a dry run, classes and shape too, and what the doctor found out about weights."""
    info = described.info()
    stated = (described.shape, described.classes) if info is None else (tuple(info.shape), info.classes)
    if path.suffix == ONNX:
        found, (shape, classes) = None, tried_apart(path, *stated)
    else:
        brought = _brought(path, described, test)
        found, (shape, classes) = brought.examination, tried(brought, *stated)
    names = described.class_names
    if names and len(names) != classes:
        raise DataError(f"class names: {len(names)} are given, the model has {classes} classes")
    return replace(described, shape=shape, classes=classes), found


def _brought(path: Path, described: Described, test: Split | None) -> "Brought":
    from certflow.doors import bring

    if path.suffix == ONNX:
        return bring.from_onnx(path, seconds=BATCH_SECONDS)
    given = described.options.items()
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given}
    return bring.from_checkpoint(
        path,
        architecture(described.architecture),
        info=described.info(),
        shape=described.shape,
        classes=described.classes,
        test=test,
        noise=described.noise,
        **options,
    )


def _described(spec: Mapping[str, Any]) -> Described:
    return Described(
        name=spec["name"],
        architecture=spec["architecture"],
        noise=revive("noise", spec["noise"]),
        dataset=None if spec["dataset"] is None else revive("dataset", spec["dataset"]),
        shape=None if spec["shape"] is None else tuple(spec["shape"]),
        classes=spec["classes"],
        class_names=tuple(spec["class_names"]),
        options=spec["options"],
    )


def _record(path: Path) -> Provenance:
    record = read_record(path, absent="upload the model again", format=FORMAT)
    if record.spec.get("folder") != path.parent.name:
        raise ArtefactError(f"{path}: belongs to another model; upload the model again")
    return record


def _without_path(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in notes.items() if key != "checkpoint"}
