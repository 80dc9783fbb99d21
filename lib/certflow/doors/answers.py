"""What sub-commands write: the table, one line that sums it up, the record as JSON, and partial counts of killed runs."""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import ArtefactError
from certflow.files.atomic import atomic
from certflow.files.intact import opened
from certflow.files.lock import exclusive
from certflow.files.opening import require_place
from certflow.kinds.spec import digest
from certflow.machine.standard import answer

if TYPE_CHECKING:
    import pandas as pd

    from certflow.certify.memory import Running
    from certflow.doors.asking import Asked
    from certflow.sampling.base import Measurement

FIRST_COLUMNS = ("idx", "radius")
"""What the header of a table begins with."""
HEADER_BYTES = 4096
FINGERPRINT = 16
"""Rows whose logits tell one model from another."""


def require_output(path: str | None) -> None:
    """ArtefactError where `--out` names what no table can replace: a folder, a device, or a file that holds something else.

    That may be the model, the images or the labels; a table that a command wrote before is replaced.
    """
    if path is None:
        return
    if path == "-":
        raise ArtefactError("--out -: without --out the table goes to standard output; leave it out, or name a file")
    require_place(path)
    try:
        with opened(path) as file:
            head = file.readline(HEADER_BYTES).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    columns = head.split("\t")
    if head and (len(columns) < 3 or columns[0] not in FIRST_COLUMNS):
        raise ArtefactError(
            f"{path}: holds something other than a table, which would be lost; name another file, or move it away"
        )


def record_of(asked: "Asked", seed: int, **more: Any) -> dict[str, Any]:
    """What the answer depends on, as plain values."""
    from certflow.machine.naming import device_name
    from certflow.sampling.base import ENGINE_REVISION

    given = asked.given
    return {
        "model": asked.brought.recorded(),
        "images": {"name": given.name, "sha256": given.digest(), "number": len(given), "shape": list(given.shape)},
        "noise": asked.noise.canonical(),
        "seed": seed,
        "engine": ENGINE_REVISION,
        **more,
        "notes": asked.base.describe(),
        "fingerprint": fingerprint(asked),
        "device": device_name(asked.base.device),
        "versions": asked.base.versions,
    }


def fingerprint(asked: "Asked") -> str:
    """SHA-256 of the logits of a few images: a model that is code has no file that identifies it."""
    import hashlib

    import torch

    from certflow.sampling.arguments import as_tensor
    from certflow.sampling.settings import engine_settings

    with engine_settings(), torch.inference_mode():
        images = as_tensor(asked.given.read(slice(0, FINGERPRINT)))
        logits = asked.base.logits(asked.base.prepare(images)[: asked.base.batch].clone())
    return hashlib.sha256(np.ascontiguousarray(logits.cpu().numpy()).tobytes()).hexdigest()


@contextmanager
def resumable(arguments: argparse.Namespace, asked: "Asked", record: Mapping[str, Any]) -> Iterator["Running"]:
    """How counting is run and saved: with `--out`, partial counts lie beside the file until the block ends without an error.

    Counts of another job (another model, image, noise, seed, device or version) are discarded, never mixed with these.
    """
    from certflow.certify.memory import Running
    from certflow.files.parts import remove_parts
    from certflow.sampling.resume import SAVE_SECONDS, Journal

    running = Running(describe=asked.given.describe, quiet=arguments.quiet)
    if arguments.out is None:
        with _interruptible("nothing is kept; with --out, the same command would continue from there"):
            yield running
        return
    journals: list[Journal] = []
    with exclusive(arguments.out, "certifying") as locked:
        remove_parts(arguments.out, locked=locked)

        def journal(measurement: "Measurement") -> Journal:
            identity = {**record, "measurement": measurement.name, **measurement.planned()}
            path = Path(f"{arguments.out}{_suffix(measurement.name)}.partial")
            # Stage 1 is kept whole: a run that is killed in stage 2 must not draw it again.
            seconds = 0.0 if measurement.name == "selection" else SAVE_SECONDS
            journals.append(Journal(path, digest(identity), seconds, locked=locked))
            return journals[-1]

        with _interruptible(f"the same command continues from what was saved (every {SAVE_SECONDS:g} s)"):
            yield replace(running, journals=journal)
        for finished in journals:
            finished.remove()


@contextmanager
def _interruptible(kept: str) -> Iterator[None]:
    """An interruption says what is kept of the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None


def _suffix(name: str) -> str:
    return "" if name == "counts" else f".{name}"


def write(
    arguments: argparse.Namespace,
    table: "pd.DataFrame",
    record: Mapping[str, Any],
    summary: Mapping[str, Any],
    line: str,
) -> None:
    """The table to `--out`, else to standard output; the JSON document to standard output where it is asked for; the line
    that sums them up to standard error."""
    text = table.to_csv(sep="\t", index=False, lineterminator="\n")
    if arguments.out is not None:
        with atomic(arguments.out) as part:
            part.write_text(text, encoding="utf-8")
    if arguments.json:
        document = {**record, "summary": summary, "table": table.astype(object).to_dict(orient="records")}
        answer(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n")
    elif arguments.out is None:
        answer(text)
    print(line, file=sys.stderr)


def _finite(value: Any) -> Any:
    """A plain value with null for numbers that JSON does not have: what is not known, and what has no bound."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
