"""Entries of a configuration, as they are written on a command line."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from certflow.errors import ConfigError, DataError
from certflow.files.intact import parsed_json
from certflow.kinds.spec import Spec

S = TypeVar("S", bound=Spec)


def entry(base: type[S], text: str, /, **fields: Any) -> S:
    """An entry of a configuration from a kind's name or JSON, with these fields where they are not None.

    base: of the family, such as `NoiseSpec`.

    `DataError` for unknown kinds, fields and values, and for a field that JSON and option state differently.
    """
    from certflow.config.validation import validated

    own = read_json(text) if text.startswith("{") else {"kind": text}
    stated = {name: value for name, value in fields.items() if value is not None}
    for name, value in stated.items():
        if name in own and own[name] != value:
            raise DataError(
                f"{base.family} {text}: {name} is {own[name]!r} here and {value!r} elsewhere on the command line; leave out one"
            )
    try:
        return validated(_class(base, own), {**own, **stated})
    except ConfigError as error:
        raise DataError(f"{base.family} {text}: {error.inline}") from None


def fitting(base: type[Spec], text: str, /, **fields: Any) -> dict[str, Any]:
    """Those of `fields` that the kind has."""
    known = _class(base, read_json(text) if text.startswith("{") else {"kind": text}).model_fields
    return {name: value for name, value in fields.items() if name in known}


def _class(base: type[S], own: Mapping[str, Any]) -> type[S]:
    from certflow.kinds.registry import spec_class

    try:
        found = spec_class(base.family, str(own.get("kind", "")))
    except ConfigError as error:
        raise DataError(f"{base.family} {own.get('kind', '')}: {error.inline}") from None
    if not issubclass(found, base):
        raise TypeError(f"{found.__name__}: is registered as a {base.family} and must be a {base.__name__}")
    return found


def read_json(text: str) -> dict[str, Any]:
    """The object that JSON text states."""
    try:
        found = parsed_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f'{text[:80]}: is not JSON ({error}); write for example {{"kind": "fixed", "n": 1000}}'
        ) from error
    return found


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` → the value as JSON where it is, else as text."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise DataError(f"--set {pair}: write KEY=VALUE, such as depth=40")
        try:
            found[key] = parsed_json(value)
        except (ValueError, RecursionError):
            found[key] = value
    return found
