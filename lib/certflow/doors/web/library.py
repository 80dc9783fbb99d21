"""Test images of the models' own data, read once and kept open."""

import threading
from pathlib import Path

import numpy as np

from certflow.data.base import DatasetSpec, Split
from certflow.data.source import data_root
from certflow.data.store import open_split
from certflow.errors import CertflowError
from certflow.kinds.spec import canonical_json


class Library:
    """Test splits by data set."""

    def __init__(self, results: Path):
        self.results, self.lock = results, threading.Lock()
        self.held: dict[str, Split] = {}

    def test(self, dataset: DatasetSpec | None) -> Split | None:
        """The test split; None where the data are unknown or their files are not there."""
        if dataset is None or "test" not in dataset.splits():
            return None
        key = canonical_json(dataset.canonical())
        with self.lock:
            if key not in self.held:
                self.held[key] = self._open(dataset)
            return self.held[key]

    def _open(self, dataset: DatasetSpec) -> Split | None:
        for manifest in sorted((self.results / "data").glob("*.json")):
            try:
                return open_split(dataset, manifest, "test")
            except CertflowError:  # of other data
                continue
        try:
            return dataset.read("test", data_root(dataset))
        except (CertflowError, OSError):
            return None


def spaced(total: int, count: int, start: int = 0) -> list[int]:
    """`count` positions evenly spaced over `total`, shifted by `start`."""
    step = max(1, total // count)
    return sorted({(start + number * step) % total for number in range(min(count, total))})


def one(split: Split, index: int) -> np.ndarray:
    """uint8 [channels, height, width]; IndexError where there is no such image."""
    return split.read(np.array([index]))[0]
