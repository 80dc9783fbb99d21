"""Which class a folder of images is, where that is not its position among the sorted names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certflow.errors import DataError
from certflow.files.intact import parsed_json, read_bounded


def numbered(names: list[str], classes: int, folder: Path) -> list[int]:
    """The numbers that the folders are called by."""
    for name in names:
        if not (name.isascii() and name.isdigit()) or int(name) >= classes:
            raise DataError(
                f"{folder / name}: with class_index: numbers, class folders are called 0 to {classes - 1}; rename it, or list "
                f"the folders in class_index"
            )
    found = [int(name) for name in names]
    for number in found:
        if found.count(number) > 1:
            raise DataError(f"{folder}: two class folders stand for the number {number}; merge them")
    return found


def looked_up(names: list[str], known: Mapping[str, int], key: str, folder: Path) -> list[int]:
    """The numbers of the folders by `known`, which may know further classes."""
    strange = [name for name in names if name not in known]
    if strange:
        raise DataError(
            f"{folder / strange[0]}: {key} does not name this class folder (it names {len(known)}, such as "
            f"{', '.join(list(known)[:3])}); add it there or remove the folder"
        )
    return [known[name] for name in names]


def read_names(path: str) -> list[Any]:
    """A JSON list, or a text file with one name a line. Raises ValueError where there is no such file."""
    text = _read(path)
    try:
        found = parsed_json(text)
    except (ValueError, RecursionError):  # plain lines
        found = None
    if isinstance(found, list):
        return found
    if found is not None:
        raise ValueError(f"{path}: must hold a list of names, or one name a line")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_index(path: str) -> dict[str, Any]:
    """A JSON mapping from folders to numbers, or from numbers to folders (or to lists that begin with a folder, as the usual
    index of ImageNet has them)."""
    text, why = _read(path), ""
    try:
        found = parsed_json(text)
    except (ValueError, RecursionError) as error:
        found, why = None, f" ({error})"
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must hold a JSON mapping from class folders to numbers{why}")
    if not found or not all(re.fullmatch("[0-9]{1,9}", key) and not isinstance(found[key], int) for key in found):
        return found
    numbers: dict[str, int] = {}
    for key, value in found.items():
        name = value[0] if isinstance(value, list) and value else value
        if not isinstance(name, str) or name in numbers:
            raise ValueError(f"{path}: {key}: must be the name of a folder that no other number has, got {value!r}")
        numbers[name] = int(key)
    return numbers


def _read(path: str) -> str:
    try:
        return read_bounded(Path(path).expanduser()).decode("utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a home folder that is not known
        raise ValueError(f"{path}: cannot be read ({error})") from error
