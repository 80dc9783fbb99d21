"""Configuration files, read without Snakemake."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from certflow.errors import ConfigError
from certflow.files.intact import DAMAGE


def read_yaml(path: str | Path, what: str = "a mapping from sections to entries") -> dict[str, Any]:
    """The content of a YAML file that holds a mapping; `ConfigError` naming the file, and `what` it must be."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, *DAMAGE) as error:
        raise ConfigError([f"cannot be read ({error})"], str(path)) from None
    if not isinstance(content, Mapping):
        raise ConfigError([f"must be {what}"], str(path))
    return dict(content)


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
