"""Per-image tables made elsewhere, read with the configuration, so that problems with them are found before anything runs."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from certflow.certify.field_table import read_field_columns
from certflow.config.records import Experiment, ForeignResult
from certflow.data.base import DataInfo
from certflow.errors import DataError
from certflow.files.intact import file_digest

if TYPE_CHECKING:
    import numpy as np

    from certflow.config.study import Study

Columns = Mapping[str, "np.ndarray"]


def foreign_problems(study: "Study", e: Experiment) -> Iterator[str]:
    """One line for each table that cannot be read, or cannot be of the experiment's dataset or of its line's images.

    Only an experiment that is asked for needs its tables (`certflow.config.outside`): one that is not there is passed over.
    """
    for place, result in enumerate(e.foreign):
        yield from _line_problems(study, e, f"foreign.{place}.tables", result)
    if e.foreign:
        yield from _norm_problems(study, e)
        yield from _beside_problems(e)


def _line_problems(study: "Study", e: Experiment, key: str, result: ForeignResult) -> Iterator[str]:
    """One message for each table of a row that is wrong by itself, or does not fit the row's first one."""
    dataset, images = study.datasets.get(e.dataset), study.images.get(e.images)
    first: tuple[str, Columns] | None = None
    for number, path in enumerate(result.paths):
        if not os.path.exists(path):
            continue
        try:
            table = read_field_columns(path)
        except DataError as error:
            yield f"{key}.{number}: {error}"
            continue
        lines = []
        if dataset is not None and images is not None:
            lines += _beyond(table, dataset.info(), images.split)
        first = first or (path, table)
        lines += [] if _same_images(table, first[1]) else [_other_images(first[0])]
        yield from (f"{key}.{number}: {path}: {line}" for line in lines)


def foreign_specs(e: Experiment) -> list[dict[str, Any]]:
    """The rows of an experiment made elsewhere, with the SHA-256 of each of their files: other content is another result."""
    return [
        {
            **result.model_dump(mode="json", exclude={"folder", "tables"}),
            "tables": [{"path": path, "sha256": file_digest(path)} for path in result.paths],
        }
        for result in e.foreign
    ]


def _beyond(table: Columns, info: DataInfo, split: str) -> Iterator[str]:
    """Numbers that the dataset does not have: classes, and images where the specification says how many there are."""
    limits = {"label": (info.classes, "classes"), "predict": (info.classes, "classes")}
    if info.size is not None:
        limits["idx"] = (info.size[split], f"images in its {split} split")
    for name, (count, what) in limits.items():
        wrong = (table[name] >= count).nonzero()[0]
        if len(wrong):
            line, value = table["line"][wrong[0]], table[name][wrong[0]]
            yield (
                f"line {line}: {name} is {value}, but the dataset has {count} {what}, numbered from 0; "
                f"name a table of the experiment's dataset and split"
            )


def _same_images(table: Columns, other: Columns) -> bool:
    return all(table[name].tolist() == other[name].tolist() for name in ("idx", "label"))


def _other_images(path: str) -> str:
    return (
        f"has other images or labels than {path}, and tables of one line differ in the training of their models alone; "
        f"certify the same images in the same order, or list it in a line of its own"
    )


def _beside_problems(e: Experiment) -> Iterator[str]:
    """A row made elsewhere must be compared with a row that exists, and each row with at most one."""
    rows: dict[tuple[str, str], str] = {}
    for place, result in enumerate(e.foreign):
        if result.beside is None:
            continue
        if result.beside not in e.methods or result.noise not in e.noises:
            yield (
                f"foreign.{place}.beside: the experiment has no row of {result.beside!r} under {result.noise!r}; its "
                f"methods are {', '.join(e.methods)}, its noises {', '.join(e.noises)}"
            )
        if rows.setdefault((result.beside, result.noise), result.label) != result.label:
            yield (
                f"foreign.{place}.beside: {rows[result.beside, result.noise]!r} stands beside {result.beside} under "
                f"{result.noise} already; leave it out, or list the tables of both in one line"
            )


def _norm_problems(study: "Study", e: Experiment) -> Iterator[str]:
    """The field's format states no norm: what the entry says must be the norm of the certificates."""
    known = [study.certificates[name] for name in e.certificates if name in study.certificates]
    for norm in sorted({result.norm for result in e.foreign}):
        others = sorted({certificate.norm for certificate in known} - {norm})
        if others:
            yield (
                f"foreign: tables made elsewhere hold {norm} radii, the experiment's certificates {' and '.join(others)} "
                f"radii; leave them out, list certificates in {norm}, or say the right `norm` of the tables"
            )
