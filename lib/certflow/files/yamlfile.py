"""YAML files that people edit."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certflow.errors import ConfigError
from certflow.files.intact import DAMAGE, read_bounded

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
OTHER_BASE = re.compile(r"[-+]?(0[0-7_]*[1-7][0-7_]*|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""How YAML 1.1 writes numbers in base 8 and 60."""


def read_yaml(path: str | Path, what: str = "a mapping from sections to entries") -> dict[str, Any]:
    """The content of a YAML file that holds a mapping; `ConfigError` naming the file, and `what` it must be."""
    import yaml

    try:
        content = yaml.safe_load(read_bounded(path).decode())
    except (yaml.YAMLError, *DAMAGE) as error:
        raise ConfigError([f"cannot be read ({error})"], str(path)) from None
    if not isinstance(content, Mapping):
        raise ConfigError([f"must be {what}"], str(path))
    otherwise = list(read_otherwise(path))
    if otherwise:
        raise ConfigError(otherwise, str(path))
    return dict(content)


def read_otherwise(path: str | Path) -> Iterator[str]:
    """One line for everything in a YAML file that its readers take for something else than its writer sees, without a word:
    a key that is written twice in one mapping, of which the last is taken; numbers that are read in base 8 or 60.

    Nothing is said of files that cannot be read; who reads them says that.
    """
    import yaml

    try:
        root = yaml.compose(read_bounded(path).decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, *DAMAGE):
        return
    yield from _otherwise(root, "", path, set())


def _otherwise(node: Any, place: str, path: str | Path, seen: set[int]) -> Iterator[str]:
    """Lines about a node of a YAML document and what is below it; `seen`: nodes that were visited, which anchors repeat."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node.value, str):
        yield from _other_base(node, place, path)
        return
    lines: dict[str, int] = {}
    for number, part in enumerate(node.value):
        key, value = part if isinstance(part, tuple) else (None, part)
        name = str(number) if key is None else str(key.value)
        if key is not None and name in lines:
            yield (
                f"{place}{name}: is written in line {lines[name]} and again in line {_line(key)} of {path}; put both together, "
                "or rename one"
            )
        elif key is not None:
            lines[name] = _line(key)
        yield from _otherwise(value, f"{place}{name}.", path, seen)


def _other_base(node: Any, place: str, path: str | Path) -> Iterator[str]:
    """A line about a number such as 0300, which is 192 in YAML, or 1:30, which is 90."""
    if not node.style and node.tag in NUMBERS and OTHER_BASE.fullmatch(node.value):
        base = 60 if ":" in node.value else 8
        yield (
            f"{place[:-1]}: YAML reads {node.value} in line {_line(node)} of {path} as a number in base {base}; write a "
            "decimal number without leading zeros, or quote the text"
        )


def _line(node: Any) -> int:
    return node.start_mark.line + 1
