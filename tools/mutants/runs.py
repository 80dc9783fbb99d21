"""Which changes to try, which tests run them, and what came of it, remembered between runs."""

import itertools
import json
import random
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Any

import copies
import report
from edits import JOIN, edits_of, function_at, statement_at
from listed import applied, entries, key_of
from maps import Kept
from near import nearest

HERE = Path(__file__).resolve().parent
MOST_TESTS = 400
"""Tests of one portion of files that are run for one change at most, the fastest ones."""
PORTIONS = (0, 2, 6, 15, 40, None)
"""So many test files are asked first, the nearest ones; the others only where these notice nothing."""


@dataclass(frozen=True)
class Change:
    """One change of one file: its whole new text, the lines of the changed statement, whether they run at import."""

    path: str
    kind: str
    text: str
    lines: tuple[int, int]
    early: bool
    package: str


class Worker:
    """A process of `worker.py` with a copy of the tree of its own."""

    def __init__(self, root: Path, original: Path, folder: Path, sources: str):
        folder.mkdir()
        tree = copies.copied(root, folder)
        command = [sys.executable, str(HERE / "worker.py"), str(tree), str(original), sources]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **job) -> dict:
        """The answer to one job."""
        asked, answers = self.process.stdin, self.process.stdout
        if asked is None or answers is None:
            raise RuntimeError("a worker is asked through pipes, and this one has none")
        asked.write(json.dumps(job) + "\n")
        asked.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError("a worker has ended; its message stands above")
        answer = json.loads(line)
        if answer["outcome"] == "error":
            raise RuntimeError(f"tests could not be run: {answer['by']}")
        return answer

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class Runs:
    """All that a call of the tool needs; a context, at whose end the workers end.

    asked: the options of the command. Tests of its files and folders may be asked, of the `nearest` files of a change; those
    alone that run it, unless `untraced`.
    """

    def __init__(self, root: Path, folder: Path, asked: Namespace):
        self.sources, self.kept = asked.sources, root / ".tools" / "mutants"
        self.kept.mkdir(parents=True, exist_ok=True)
        (folder / "original").mkdir()
        self.original = copies.copied(root, folder / "original")
        names = [str(path.relative_to(self.original)) for path in self.original.rglob("*.py") if path.is_file()]
        self.names = [name for name in names if not name.startswith(".venv")]
        self.files = sorted(
            name for name in self.names if "/test_" in name and any(_within(name, part) for part in asked.tests)
        )
        self.most, self.maps = asked.nearest, Kept(self.original, self.kept, self.names, not asked.untraced)
        self.locks = {file: Lock() for file in self.files}
        self.lines: dict[str, dict] = {}
        self.equivalent = {entry.key for entry in entries(HERE / "equivalent.txt")}
        self.killers: dict[str, Counter] = defaultdict(Counter)
        self.known = self._remembered()
        self.workers: Queue[Worker] = Queue()
        places = [folder / f"worker{number}" for number in range(asked.processes)]
        self.all = [Worker(root, self.original, place, self.sources) for place in places]
        for worker in self.all:
            self.workers.put(worker)

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_) -> None:
        for worker in self.all:
            worker.close()

    def stop(self, *_) -> None:
        """End the workers and what they run, then this process; the copies go with it."""
        for worker in self.all:
            worker.process.terminate()
        sys.exit(143)

    def ask(self, **job) -> dict:
        """Any free worker's answer."""
        worker = self.workers.get()
        try:
            return worker.ask(**job)
        finally:
            self.workers.put(worker)

    def _lines(self, file: str) -> dict[str, dict]:
        """Which lines every test of a file runs; found when it is asked first."""
        with self.locks[file]:
            if file not in self.lines:
                self.lines[file] = self.maps.lines(file, self.ask)
                print(f"{file}: {len(self.lines[file])} tests", file=sys.stderr, flush=True)
            return self.lines[file]

    def sample(self, packages: list[str], number: int, seed: int) -> list[Change]:
        """`number` random changes of each package."""
        found = []
        for package in packages:
            folder = f"{self.sources}/{package}/"
            every = [
                (name, edit)
                for name in sorted(self.names)
                if name.startswith(folder)
                for edit in edits_of(self._source(name))
            ]
            chosen = random.Random(f"{seed} {package}").sample(every, min(number, len(every)))
            found += [
                Change(name, edit.kind, edit.applied(self._source(name)), edit.lines, edit.early, package)
                for name, edit in chosen
            ]
        return found

    def unsound(self) -> list[Change]:
        """The changes of `unsound.txt`."""
        found = []
        for entry in entries(HERE / "unsound.txt"):
            source = self._source(entry.path)
            text = applied(entry, source)
            rows = [row.strip() for row in source.splitlines()]
            old = entry.old.split(JOIN)
            first = next(row for row in range(len(rows)) if rows[row : row + len(old)] == old)
            lines, early = statement_at(source, first + 1)
            found.append(Change(entry.path, "unsound", text, lines, early, "unsound"))
        return found

    def _source(self, path: str) -> str:
        return (self.original / path).read_text(encoding="utf-8")

    def tried(self, changes: list[Change], minutes: float) -> list[dict]:
        """What came of every change that was begun in time, in their order."""
        until = time.monotonic() + 60 * minutes
        with ThreadPoolExecutor(len(self.all)) as pool:
            results = pool.map(lambda change: self._result(change, until), changes)
            return [result for result in results if result is not None]

    def _remembered(self) -> dict[str, dict]:
        """Results of earlier runs by their keys; which test files noticed them goes to `killers`."""
        path = self.kept / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = {(result := json.loads(line))["key"]: result for line in lines}
        for result in found.values():
            if result["outcome"] == "caught":
                self.killers[result["path"]][result["by"].split("::")[0]] += 1
        return found

    def _result(self, change: Change, until: float) -> dict | None:
        source = self._source(change.path)
        name = key_of(change.path, source, change.text)
        result: dict[str, Any] = {
            "package": change.package,
            "kind": change.kind,
            "path": change.path,
            "by": "",
            "tests": 0,
        }
        result |= {"change": name[1:], "diff": report.diff(change.path, source, change.text)}
        if name in self.equivalent:
            return {**result, "outcome": "equivalent"}
        files = self._near(change)
        # A change that was noticed stays noticed when tests are added; one that was not is tried again when they change.
        key = copies.hashlib.sha256(f"{change.path}\0{change.text}".encode()).hexdigest()
        fresh = copies.digest(self.original, files)
        known = self.known.get(key)
        if known and (known["outcome"] in report.NOTICED or known["fresh"] == fresh):
            return {**result, **{name: known[name] for name in ("outcome", "by", "tests")}}
        if time.monotonic() > until:
            return None
        started = time.monotonic()
        result |= {**self._answer(change, files), "key": key, "fresh": fresh}
        result["seconds"] = round(time.monotonic() - started, 1)
        if result["outcome"] == "caught":
            self.killers[change.path][result["by"].split("::")[0]] += 1
        with open(self.kept / "results.jsonl", "a") as file:
            file.write(json.dumps(result) + "\n")
        short = f"{result['outcome']:<9} {result['seconds']:>6} s {result['tests']:>4} tests  {change.path}: {name[2][:100]}"
        print(short, file=sys.stderr, flush=True)
        return result

    def _near(self, change: Change) -> list[str]:
        """The test files that may be asked, the nearest first; before them those that have noticed most in this module."""
        rows, speech = self._source(change.path).splitlines(), {}
        for (first, last), weight in ((function_at("\n".join(rows), change.lines[0]), 6), (change.lines, 24)):
            speech["\n".join(rows[max(first - 2, 0) : last])] = weight  # with the line above, a function's head
        found = nearest(change.path, {} if change.early else speech, {file: self._source(file) for file in self.files})
        noticed = self.killers[change.path]
        return sorted(found, key=lambda file: -noticed[file])[: self.most]

    def _answer(self, change: Change, files: list[str]) -> dict:
        """What the tests say that run the change, portion by portion until one notices. Lines that `torch.compile` follows run
        unseen: where no test is seen to run the change, those that run anything of its function are asked."""
        around = replace(change, lines=function_at(self._source(change.path), change.lines[0]))
        for place in (change, around):
            answer, asked = {"outcome": "not run", "by": ""}, 0
            for start, stop in itertools.pairwise(PORTIONS):
                if answer["outcome"] not in report.NOTICED and (tests := self._tests(place, files[start:stop])):
                    answer, asked = self._asked(change, tests), asked + len(tests)
            if asked:
                break
        return {**answer, "tests": asked}

    def _asked(self, change: Change, tests: dict[str, float]) -> dict:
        """What came of these tests, given with their seconds, each file's together."""
        files: dict[str, list[str]] = defaultdict(list)
        for test in tests:
            files[test.split("::")[0]].append(test)
        limits = {"each": 30 + 10 * max(tests.values()), "limit": 240 + 10 * sum(tests.values())}
        return self.ask(path=change.path, text=change.text, files=list(files.items()), **limits)

    def _tests(self, change: Change, files: list[str]) -> dict[str, float]:
        """Tests of these files that run the change, the fastest first, with their seconds."""
        users = self._users(change.path) if change.early else {change.path}
        maps = [item for file in files for item in self._lines(file).items()]
        found = {test: one["seconds"] for test, one in maps if _runs(one["lines"], change, users)}
        return dict(sorted(found.items(), key=lambda item: item[1])[:MOST_TESTS])

    def _users(self, path: str) -> set[str]:
        """The file and all that import it; of a kind, which nobody imports by name, what describes all kinds."""
        inside = Path(path).relative_to(Path(self.sources).parent).with_suffix("")
        module = ".".join(inside.parts).removesuffix(".__init__")
        package, _, name = module.rpartition(".")
        asks = (f"from {module} import", f"import {module}", f"from {package} import {name}")
        code = [other for other in self.names if other.startswith(f"{self.sources}/")]
        users = {path, *(other for other in code if any(text in self._source(other) for text in asks))}
        return users | ({f"{self.sources}/kinds/described.py"} if "/kinds/" in path else set())


def _runs(lines: dict[str, list[int]] | None, change: Change, users: set[str]) -> bool:
    """Whether a test runs the changed statement; for one that runs at import, whether it runs anything of a file that has to
    do with it."""
    if lines is None:
        return True
    if change.early:
        return not users.isdisjoint(lines)
    first, last = change.lines
    return any(first <= line <= last for line in lines.get(change.path, ()))


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part.rstrip("/") + "/")
