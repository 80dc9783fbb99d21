"""Checks settings against the record that they are for, and says what is wrong with them in plain words."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from certflow.errors import ConfigError, listed
from certflow.kinds.effect import idle
from certflow.kinds.spec import Record

R = TypeVar("R", bound=Record)
BRANCH = re.compile(r"constrained-\w+|str|int|float|bool|(tuple|list|dict|literal|function-\w+|nullable)\[.*\]")
"""What pydantic puts into a path for one of several types that a value may have."""
THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+")
"""Numbers such as 100,000."""


def validated(cls: type[R], fields: Mapping[str, Any], stated: Iterable[str] | None = None) -> R:
    """An instance of `cls`, or a `ConfigError` with one line for each wrong field, or else for each that has no effect.

    stated: the fields that an entry states itself, which must have one; None: all.
    """
    try:
        text = json.dumps(fields, default=_not_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError([f": holds a value that is not a plain YAML value ({error})"]) from None
    try:
        record = cls.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(list(dict.fromkeys(_explain(cls, problem) for problem in error.errors()))) from None
    if found := list(idle(record, stated)):
        raise ConfigError(found)
    return record


def _not_plain(value: Any) -> Any:
    raise TypeError(f"YAML takes {value} for a {type(value).__name__}: quote it")


def _explain(cls: type[Record], problem: Mapping[str, Any]) -> str:
    """`path: what is wrong, got what` from one of pydantic's error records."""
    path, records = _located(cls, problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = [name for name in records[0].model_fields if name != "kind"]
        return f"{path}: no such setting; known: {listed(fields, problem['loc'][-1])}"
    if problem["type"] == "missing":
        return f"{path}: is missing"
    if problem["type"].startswith("union_tag"):
        key = problem["ctx"]["discriminator"].strip("'")
        known = ", ".join(record.model_fields[key].default for record in records)
        return f"{path}.{key}: must be one of {known}, got {problem['ctx'].get('tag')!r}"
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{path}: {message}, got {problem['input']!r}{_hint(problem)}" if path else f": {message}"


def _hint(problem: Mapping[str, Any]) -> str:
    """How YAML has read a value, if that is not what its writer expects: `1e-3` is a text, `no` is false."""
    given = problem["input"]
    if problem["type"] == "string_type" and isinstance(given, bool):
        return "; YAML takes no, off, yes and on for truth values: quote the word"
    if problem["type"] == "int_type" and isinstance(given, float) and given.is_integer():
        return f"; that is a fraction for YAML and JSON: write {int(given)}"
    if problem["type"] not in ("float_type", "int_type") or not isinstance(given, str):
        return ""
    whole = problem["type"] == "int_type"
    try:
        number = float(without_commas(given, whole))
    except ValueError:
        return ""
    if whole and not number.is_integer():
        return ""
    written = str(int(number)) if whole else repr(number)
    if "e" in written and "." not in written:
        written = written.replace("e", ".0e")
    return f"; that is a text for YAML and JSON: write {written}"


def without_commas(text: str, whole: bool) -> str:
    """A number as Python reads it. In whole numbers commas separate thousands; in others one comma may be a decimal comma,
    unless three digits follow it, which could be either: such texts are returned unchanged."""
    if whole:
        return text.replace(",", "") if THOUSANDS.fullmatch(text) else text
    return text if THOUSANDS.fullmatch(text) else text.replace(",", ".")


def _located(cls: type[Record], place: Sequence[str | int]) -> tuple[str, list[type[Record]]]:
    """The path as it was written, without the tags that pydantic puts where records can be of several kinds, and the records
    that it leads to: that of an unknown setting, or those that a setting may hold."""
    path, holders = [], [cls]
    for part in place:
        tagged = [holder for holder in holders if any(field.default == part for field in holder.model_fields.values())]
        if len(holders) > 1 and tagged:
            holders = tagged
            continue
        if not isinstance(part, str) or not BRANCH.fullmatch(part):
            path.append(str(part))
        holders = [
            record
            for holder in holders
            if part in holder.model_fields
            for record in _records(holder.model_fields[part].annotation)
        ] or holders
    return ".".join(path), holders


def _records(annotation: Any) -> list[type[Record]]:
    """The records that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [record for part in get_args(annotation) for record in _records(part)]
