"""The user's own files (checkpoints, weights), known by content: another file under the same name is noticed."""

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from certflow.errors import DataError
from certflow.files.intact import file_digest


def by_number(role: str, paths: Iterable[str]) -> dict[str, str]:
    """Role → path of files that belong together, the roles `role`, `role.1` and so on."""
    return {f"{role}.{number}" if number else role: path for number, path in enumerate(paths)}


def contents(files: Mapping[str, str | Path]) -> dict[str, str]:
    """Role → SHA-256 (hex) of the file, for those of `files` that are there."""
    found = {role: content(path) for role, path in files.items()}
    return {role: digest for role, digest in found.items() if digest is not None}


def content(path: str | Path) -> str | None:
    """SHA-256 (hex) of a file's bytes, None where there is no such file; read again only after it was changed."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return _digest(os.path.abspath(path), state.st_size, state.st_mtime_ns) if os.path.isfile(path) else None


@lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int) -> str:
    return file_digest(path)


def require_contents(spec: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """`DataError` unless the files that a job read (role → SHA-256) are those that its specification (`files`) names."""
    for role, digest in found.items():
        wanted = spec.get("files", {}).get(role)
        if wanted not in (None, digest):
            raise DataError(
                f"{role}: the file was changed while the workflow ran (it is {digest[:12]} now, was {wanted[:12]}); run again"
            )
