"""Which changes to try, which tests run them, and what came of it, remembered between runs."""

import json
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import copies
import report
from edits import JOIN, edits_of, function_at, statement_at
from listed import applied, entries, key_of
from maps import Kept

HERE = Path(__file__).resolve().parent
MOST_TESTS = 400
"""Tests that are run for one change at most, the fastest ones."""


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
    """All that a call of the tool needs; a context, at whose end the workers end."""

    def __init__(self, root: Path, folder: Path, sources: str, processes: int):
        self.root, self.sources, self.kept = root, sources, root / ".tools" / "mutants"
        self.kept.mkdir(parents=True, exist_ok=True)
        (folder / "original").mkdir()
        self.original = copies.copied(root, folder / "original")
        self.names = [str(path.relative_to(self.original)) for path in self.original.rglob("*.py") if path.is_file()]
        self.names = [name for name in self.names if not name.startswith(".venv")]
        self.workers: Queue[Worker] = Queue()
        self.all = [Worker(root, self.original, folder / f"worker{number}", sources) for number in range(processes)]
        for worker in self.all:
            self.workers.put(worker)
        self.lines: dict[str, dict] = {}
        self.killers: dict[str, Counter] = defaultdict(Counter)

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

    def find_lines(self, tests: list[str]) -> None:
        """Which lines every test runs."""
        files = sorted(name for name in self.names if "/test_" in name and any(_within(name, part) for part in tests))
        kept = Kept(self.original, self.kept, self.names)
        with ThreadPoolExecutor(len(self.all)) as pool:
            for file, found in zip(files, pool.map(lambda file: kept.lines(file, self.ask), files), strict=True):
                self.lines |= found
                print(f"{file}: {len(found)} tests", file=sys.stderr, flush=True)

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
        self.equivalent = {entry.key for entry in entries(HERE / "equivalent.txt")}
        self.known = self._remembered()
        until = time.monotonic() + 60 * minutes
        with ThreadPoolExecutor(len(self.all)) as pool:
            results = pool.map(lambda change: self._result(change, until), changes)
            return [result for result in results if result is not None]

    def _remembered(self) -> dict[str, dict]:
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
        files = self._files(change)
        tests = [test for _, part in files for test in part]
        # A change that was noticed stays noticed when tests are added; one that was not is tried again when they change.
        key = copies.hashlib.sha256(f"{change.path}\0{change.text}".encode()).hexdigest()
        fresh = copies.digest(self.original, [file for file, _ in files]) + str(len(tests))
        known = self.known.get(key)
        if known and (known["outcome"] in report.NOTICED or known["fresh"] == fresh):
            return {**result, "outcome": known["outcome"], "by": known["by"], "tests": len(tests)}
        if time.monotonic() > until:
            return None
        started = time.monotonic()
        answer = self._answer(change, files, tests)
        result |= {**answer, "tests": len(tests), "key": key, "fresh": fresh}
        result["seconds"] = round(time.monotonic() - started, 1)
        if result["outcome"] == "caught":
            self.killers[change.path][result["by"].split("::")[0]] += 1
        with open(self.kept / "results.jsonl", "a") as file:
            file.write(json.dumps(result) + "\n")
        short = f"{result['outcome']:<9} {result['seconds']:>6} s {len(tests):>4} tests  {change.path}: {name[2][:100]}"
        print(short, file=sys.stderr, flush=True)
        return result

    def _answer(self, change: Change, files: list, tests: list[str]) -> dict:
        if not tests:
            return {"outcome": "not run", "by": ""}
        seconds = [self.lines[test]["seconds"] for test in tests]
        limits = {"each": 30 + 10 * max(seconds), "limit": 240 + 10 * sum(seconds)}
        return self.ask(path=change.path, text=change.text, files=files, **limits)

    def _files(self, change: Change) -> list[tuple[str, list[str]]]:
        """The tests that run the change, by file: first the files that have noticed most in this module, then those
        with its name or its package's, then the fastest. Lines that `torch.compile` follows run unseen: where no test is
        seen to run the change, those that run anything of its function."""
        users = self._users(change.path) if change.early else {change.path}
        around = replace(change, lines=function_at(self._source(change.path), change.lines[0]))
        tests = self._tests(change, users) or self._tests(around, users)
        tests = sorted(tests, key=lambda test: self.lines[test]["seconds"])[:MOST_TESTS]
        files: dict[str, list[str]] = defaultdict(list)
        for test in tests:
            files[test.split("::")[0]].append(test)
        cost = {file: sum(self.lines[test]["seconds"] for test in part) for file, part in files.items()}
        parts = Path(change.path).with_suffix("").parts[-2:]
        akin = {file: sum(part in file for part in parts) for file in files}
        noticed = self.killers[change.path]
        return sorted(files.items(), key=lambda item: (-noticed[item[0]], -akin[item[0]], cost[item[0]]))

    def _tests(self, change: Change, users: set[str]) -> list[str]:
        return [test for test, found in self.lines.items() if _runs(found["lines"], change, users)]

    def _users(self, path: str) -> set[str]:
        """The file and all that import it; of a kind, which nobody imports by name, what describes all kinds."""
        inside = Path(path).relative_to(Path(self.sources).parent).with_suffix("")
        module = ".".join(inside.parts).removesuffix(".__init__")
        package, _, name = module.rpartition(".")
        asks = (f"from {module} import", f"import {module}", f"from {package} import {name}")
        code = [other for other in self.names if other.startswith(f"{self.sources}/")]
        users = {path, *(other for other in code if any(text in self._source(other) for text in asks))}
        return users | ({f"{self.sources}/kinds/described.py"} if "/kinds/" in path else set())


def _runs(lines: dict[str, list[int]], change: Change, users: set[str]) -> bool:
    """Whether a test runs the changed statement; for one that runs at import, whether it runs anything of a file that has to
    do with it."""
    if change.early:
        return not users.isdisjoint(lines)
    first, last = change.lines
    return any(first <= line <= last for line in lines.get(change.path, ()))


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part.rstrip("/") + "/")
