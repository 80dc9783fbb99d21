"""Imports point down: a room of the library uses the rooms of lower floors, and no two rooms use each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "lib" / "certflow"
FLOORS = (
    ("errors",),
    ("kinds",),
    ("files",),
    ("machine", "stats"),
    ("noise",),
    ("data",),
    ("models", "presets"),
    ("denoising",),
    ("training",),
    ("sampling",),
    ("certify",),
    ("attacks", "knowledge"),
    ("report",),
    ("config",),
    ("workflow", "doors"),
)
"""The rooms, lowest floor first; docs/architecture.md draws them."""
ONE_EXCEPTION = {"denoising/base.py": {"training"}}
"""A denoiser's entry holds the settings of its own training, if it has one; training puts denoisers before classifiers."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY)


def imported(node: ast.AST) -> Iterator[str]:
    """Names of modules that a syntax tree imports, at once, lazily or inside a function. Imports for annotations alone do not
    count: what they name is handed in."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy":
        yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def rooms(path: Path) -> set[str]:
    """The other rooms that a module imports from."""
    names = (name.split(".") for name in imported(ast.parse(path.read_text())))
    return {name[1] for name in names if name[0] == "certflow" and len(name) > 1} - {path.relative_to(LIBRARY).parts[0]}


def test_every_room_has_a_floor():
    assert {path.relative_to(LIBRARY).parts[0] for path in MODULES} == set(FLOOR) - {"errors"}
    drawn = (LIBRARY.parents[1] / "docs" / "architecture.md").read_text()
    assert all(f"{room} " in drawn for room in FLOOR if room != "errors")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_down(path):
    own = FLOOR[path.relative_to(LIBRARY).parts[0]]
    name = str(path.relative_to(LIBRARY))
    above = {room for room in rooms(path) if room in FLOOR and FLOOR[room] >= own} - ONE_EXCEPTION.get(name, set())
    assert not above, f"{name} imports from {', '.join(sorted(above))}, which does not lie below it"


def test_a_wrong_arrow_is_seen():
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\ndef f():\n    from b.c import d\nx = lazy('e')\n"
    assert list(imported(ast.parse(code))) == ["typing.TYPE_CHECKING", "b.c.d", "e"]
