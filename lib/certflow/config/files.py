"""Configuration files, read without Snakemake."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from certflow.errors import ConfigError
from certflow.files.intact import DAMAGE, read_bounded


def read_yaml(path: str | Path, what: str = "a mapping from sections to entries") -> dict[str, Any]:
    """The content of a YAML file that holds a mapping; `ConfigError` naming the file, and `what` it must be."""
    import yaml

    try:
        content = yaml.safe_load(read_bounded(path).decode())
    except (yaml.YAMLError, *DAMAGE) as error:
        raise ConfigError([f"cannot be read ({error})"], str(path)) from None
    if not isinstance(content, Mapping):
        raise ConfigError([f"must be {what}"], str(path))
    twice = list(repeated_keys(path))
    if twice:
        raise ConfigError(twice, str(path))
    return dict(content)


def repeated_keys(path: str | Path) -> Iterator[str]:
    """One line for each key that a YAML file writes twice in one mapping: readers take the last and lose the others.

    Nothing is said of files that cannot be read; who reads them says that.
    """
    import yaml

    try:
        root = yaml.compose(read_bounded(path).decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, *DAMAGE):
        return
    yield from (f"{line} of {path}; put both together, or rename one" for line in _repeated(root, "", set()))


def _repeated(node: Any, place: str, seen: set[int]) -> Iterator[str]:
    """Lines about a node of a YAML document and what is below it; `seen`: nodes that were visited, which anchors repeat."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node.value, str):
        return
    lines: dict[str, int] = {}
    for number, part in enumerate(node.value):
        key, value = part if isinstance(part, tuple) else (None, part)
        name = str(number) if key is None else str(key.value)
        if key is not None and name in lines:
            yield f"{place}{name}: is written in line {lines[name]} and again in line {key.start_mark.line + 1}"
        elif key is not None:
            lines[name] = key.start_mark.line + 1
        yield from _repeated(value, f"{place}{name}.", seen)


def merged(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Configuration files, each laid over those before it, as Snakemake does."""
    content: dict[str, Any] = {}
    for path in paths:
        _overlay(content, read_yaml(path))
    return content


def _overlay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _overlay(below[key], value)
        else:
            below[key] = value
