"""A pytest plugin that writes down, for every test that passes, which lines of the product it runs and how long it takes.

What a shared fixture runs counts for all tests that use it. Caches of the product's functions are emptied before every test:
else only the first one would seem to run what is remembered.
"""

import os
import sys
import time
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import CodeType

import pytest

Lines = dict[str, set[int]]


class Tracer:
    """Lines of files below `folder` (relative to `root`) that run between `begin` and `end`."""

    def __init__(self, root: Path, folder: str):
        self.prefix, self.root = os.path.join(str(root), folder) + os.sep, str(root) + os.sep
        self.found: Lines = defaultdict(set)
        self._places: dict = {}

    def begin(self) -> None:
        self.found = defaultdict(set)
        sys.settrace(self._call)

    def end(self) -> Lines:
        sys.settrace(None)
        return {name[len(self.root) :]: lines for name, lines in self.found.items()}

    def _call(self, frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(self.prefix):
            return None
        lines = self.found[name]
        lines.add(frame.f_lineno)
        if _lines_of(frame.f_code) <= lines:
            return None  # nothing new to see, and watching each line takes time

        def line(frame, event, argument):
            lines.add(frame.f_lineno)
            return line

        return line


class Blind(Tracer):
    """Sees nothing, and costs nothing."""

    def begin(self) -> None:
        pass

    def end(self) -> Lines:
        return {}


@cache
def _lines_of(code: CodeType) -> set[int]:
    """All lines of a function's body (of a module, of those outside functions)."""
    return {line for _, _, line in code.co_lines() if line is not None}


class Map:
    """The plugin. `tests`: test → {"seconds": ..., "lines": {file: [lines]}}, for tests that passed. Not `traced`: which take
    how long and pass, in a third of the time."""

    def __init__(self, root: Path, folder: str, traced: bool = True):
        self.tracer, self.folder, self.traced = (Tracer if traced else Blind)(root, folder), folder, traced
        self.fixtures: dict[tuple, Lines] = {}
        self.lines: dict[str, list[Lines]] = defaultdict(list)
        self.seconds: dict[str, float] = defaultdict(float)
        self.outcomes: dict[str, set[str]] = defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "function":
            return (yield)
        outer = self.tracer.end() if sys.gettrace() else None
        self.tracer.begin()
        try:
            return (yield)
        finally:
            own = self.tracer.end()
            self.fixtures[fixturedef.argname, fixturedef.baseid] = own
            if outer is not None:
                self.tracer.begin()
                for name, lines in outer.items():
                    self.tracer.found[self.tracer.root + name] |= lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        if self.traced:
            _forget_remembered(self.folder)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        return (yield from self._traced(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        return (yield from self._traced(item))

    def _traced(self, item):
        started = time.perf_counter()
        self.tracer.begin()
        try:
            return (yield)
        finally:
            self.lines[item.nodeid].append(self.tracer.end())
            self.seconds[item.nodeid] += time.perf_counter() - started

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item):
        for name, definitions in item._fixtureinfo.name2fixturedefs.items():
            for definition in definitions:
                self.lines[item.nodeid].append(self.fixtures.get((name, definition.baseid), {}))

    def pytest_runtest_logreport(self, report):
        self.outcomes[report.nodeid].add(report.outcome)

    def tests(self) -> dict[str, dict]:
        """What was found, of tests that passed in all their phases."""
        return {
            test: {"seconds": round(self.seconds[test], 3), "lines": _joined(parts)}
            for test, parts in self.lines.items()
            if self.outcomes[test] == {"passed"}
        }


def _joined(parts: list[Lines]) -> dict[str, list[int]]:
    together: Lines = defaultdict(set)
    for part in parts:
        for name, lines in part.items():
            together[name] |= lines
    return {name: sorted(lines) for name, lines in together.items()}


def _forget_remembered(folder: str) -> None:
    """Empty the caches of all functions of the product's modules."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == folder.split("/")[-1] and module is not None:
            for value in list(vars(module).values()):
                if callable(clear := getattr(value, "cache_clear", None)):
                    clear()
