"""Configuration files, read without Snakemake."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from certflow.files.yamlfile import read_yaml


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
