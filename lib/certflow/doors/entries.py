"""Entries of a configuration, as they are written on a command line."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from certflow.errors import ConfigError, DataError
from certflow.kinds.spec import Spec


def entry(family: str, text: str, **fields: Any) -> Spec:
    """An entry of a configuration from a kind's name or JSON, with these fields where they are not None.

    `DataError` for unknown kinds, fields and values.
    """
    from certflow.config.validation import validated

    own = read_json(text) if text.startswith("{") else {"kind": text}
    stated = {name: value for name, value in fields.items() if value is not None}
    try:
        return validated(_class(family, own), {**own, **stated})
    except ConfigError as error:
        raise DataError(f"{family} {text}: {'; '.join(line.removeprefix(': ') for line in error.problems)}") from None


def fitting(family: str, text: str, **fields: Any) -> dict[str, Any]:
    """Those of `fields` that the kind has."""
    known = _class(family, read_json(text) if text.startswith("{") else {"kind": text}).model_fields
    return {name: value for name, value in fields.items() if name in known}


def _class(family: str, own: Mapping[str, Any]) -> type[Spec]:
    from certflow.kinds.registry import spec_class

    try:
        return spec_class(family, str(own.get("kind", "")))
    except ConfigError as error:
        raise DataError(f"{family} {own.get('kind', '')}: {'; '.join(error.problems)}") from None


def read_json(text: str) -> dict[str, Any]:
    """The object that JSON text states."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f'{text}: is not JSON ({error}); write such as {{"kind": "fixed", "n": 1000}}') from error
    return found


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` → the value as JSON where it is, else as text."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise DataError(f"--set {pair}: write KEY=VALUE, such as depth=40")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
