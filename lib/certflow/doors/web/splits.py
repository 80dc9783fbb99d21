"""Test splits of the models' data sets, opened once and kept open."""

import threading
from pathlib import Path

from certflow.data.base import DatasetSpec, Split
from certflow.data.source import data_root
from certflow.data.store import open_split
from certflow.errors import CertflowError
from certflow.kinds.spec import canonical_json


class Splits:
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
            if key in self.held:
                return self.held[key]
            found = self._open(dataset)
            if found is not None:  # files that are not there may still come
                self.held[key] = found
            return found

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
    """`count` positions evenly spaced over a split of `total` images, shifted by `start`."""
    count = min(count, total)
    return sorted((start + number * total // count) % total for number in range(count))
