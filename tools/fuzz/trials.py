"""Damaging a sample's files and telling what its reader made of them."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch

from certflow.errors import ArtefactError
from certflow.files.formats import FORMATS
from tools.fuzz.mutations import mutated
from tools.fuzz.samples import SAMPLES, Sample

OUTCOMES = ("refused", "unchanged", "changed", "other error")
"""`unchanged`: accepted, with the content that was written. The last two must not occur."""


@dataclass
class Tally:
    """How often each outcome occurred, and an example of each that must not."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: str, example: str) -> None:
        self.counts[outcome] += 1
        if outcome in OUTCOMES[2:]:
            self.examples.setdefault(outcome, example)


def without_sample() -> list[str]:
    """Formats that nobody damages yet."""
    return sorted(FORMATS.keys() ^ SAMPLES.keys())


def fuzz(name: str, mutations: int, seed: int, folder: Path) -> Tally:
    """Damage the files of one format, one at a time, and read them. The same seed gives the same damage."""
    sample, random, tally = SAMPLES[name], Random(f"{name} {seed}"), Tally()
    ours, theirs = _made(sample, folder / "ours", 0), _made(sample, folder / "theirs", 1)
    content = fingerprint(sample.read(ours))
    paths = list(zip(sample.files(ours), sample.files(theirs), strict=True))
    for number in range(mutations):
        path, other = random.choice(paths)
        intact = path.read_bytes()
        _overwrite(path, mutated(intact, other.read_bytes(), random))
        tally.add(*_outcome(sample, ours, content, f"seed {seed}, mutation {number} of {path.name}"))
        _overwrite(path, intact)
    if fingerprint(sample.read(ours)) != content:
        raise RuntimeError(f"{name}: reading damaged files has changed others")
    return tally


def _overwrite(path: Path, content: bytes) -> None:
    """Without making the file empty first: some file systems then wait for the disk. A reader may have removed it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
        file.write(content)
        file.truncate()


def _made(sample: Sample, folder: Path, number: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "number").write_text(str(number))
    sample.make(folder, number)
    return folder


def _outcome(sample: Sample, folder: Path, content: str, where: str) -> tuple[str, str]:
    try:
        found = sample.read(folder)
    except ArtefactError:
        return "refused", where
    except Exception as error:  # whatever else escapes is what is looked for here
        return "other error", f"{where}: {type(error).__name__}: {error}"
    if found is None:
        return "refused", where
    return ("unchanged" if fingerprint(found) == content else "changed"), where


def fingerprint(value: Any) -> str:
    """SHA-256 of all that a reader returned: types, names, shapes and bits."""
    total = hashlib.sha256()
    for part in _parts(value):
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def _parts(value: Any):
    if isinstance(value, torch.Tensor):
        value = value.contiguous().numpy()
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.descr} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, pd.DataFrame):
        yield f"{[(name, str(dtype)) for name, dtype in value.dtypes.items()]}".encode()
        yield value.to_csv().encode()  # every float in full
    elif is_dataclass(value):
        for one in fields(value):
            yield one.name.encode()
            yield from _parts(getattr(value, one.name))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield repr(key).encode()
            yield from _parts(one)
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for one in value:
            yield from _parts(one)
    else:
        yield repr(value).encode()
