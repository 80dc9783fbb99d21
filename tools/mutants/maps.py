"""Which lines every test of a file runs, kept until that file, what it imports from tests/, or code that it runs changes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copies

Lines = dict[str, dict]
"""Test → {"seconds": ..., "lines": {file: [lines]}, or None where that is not known}."""


class Kept:
    """The maps in the folder `kept` of the tree at `root`; `names`: all its Python files. Without `traced`, a file that has no
    map yet is run once to see which of its tests pass, and a test may run any line."""

    def __init__(self, root: Path, kept: Path, names: list[str], traced: bool = True):
        self.root, self.kept, self.names, self.traced = root, kept, set(names), traced
        self.helpers = {Path(name).stem: name for name in names if name.startswith("tests/") and "/test_" not in name}

    def lines(self, file: str, ask: Callable[..., dict]) -> Lines:
        """The lines of a test file's tests: those that are kept, or, where something has changed, found by `ask`."""
        path = self.kept / f"{file.replace('/', '.')}.json"
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if known and (known["traced"] or not self.traced) and known["key"] == self._key(file, known["tests"]):
            return known["tests"]
        answer = ask(map=file, traced=self.traced, limit=3600)
        if "tests" not in answer:
            print(f"{file}: left out ({answer})", file=sys.stderr, flush=True)
            return {}
        tests = answer["tests"]
        if not self.traced:
            tests = {test: one | {"lines": None} for test, one in tests.items()}
        path.write_text(json.dumps({"key": self._key(file, tests), "traced": self.traced, "tests": tests}))
        return tests

    def _key(self, file: str, tests: Lines) -> str:
        """Digest of the test file, its helpers, and the code that its tests run."""
        every = {name for name in self.names if not name.startswith(("tests/", "tools/"))}
        code = {name for test in tests.values() for name in test["lines"] or every}
        return copies.digest(self.root, sorted(self.names & (code | self._with_helpers(file))))

    def _with_helpers(self, file: str) -> set[str]:
        """A test file, `conftest`, and all files of tests/ that it names, or that those name."""
        found, todo = set(), [file, "tests/conftest.py"]
        while todo:
            name = todo.pop()
            if name in self.names and name not in found:
                found.add(name)
                text = (self.root / name).read_text(encoding="utf-8")
                todo += [helper for stem, helper in self.helpers.items() if stem in text]
        return found
