"""Values given on Snakemake's command line: nested values of `--config` arrive as text, and are read here as YAML."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from certflow.config.records import RECORDS, SECTIONS
from certflow.errors import ConfigError
from certflow.files.yamlfile import OTHER_BASE
from certflow.kinds.registry import spec_class
from certflow.kinds.spec import Record

NULL = ("null", "~")


def read_text(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Replace the text in `config` that comes from `given` (what `--config` said) by numbers, truth values and nulls, in place,
    where the settings want those. Text from a file stays text, and is refused later where a number is wanted.

    `given` may hold the configuration under one of its own keys, as a workflow does that uses this one as a module.
    """
    for tree in (given, *given.values()):
        if isinstance(tree, Mapping):
            for section in {"recipes", "lists"} & tree.keys() & config.keys():
                config[section] = _replaced(config[section], tree[section], _scalar)
            for cls, entry, name, said in _fields(config, tree):
                entry[name] = _settled(cls, name, entry[name], said)


def _fields(config: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[type[Record], dict, str, Any]]:
    """(record, entry as it stands, setting, what the command line said of it) of all settings of known entries."""
    for section in {*SECTIONS, *RECORDS} & given.keys() & config.keys():
        if not isinstance(given[section], Mapping) or not isinstance(config[section], Mapping):
            continue
        for name, fields in given[section].items():
            entry = config[section].get(name)
            cls = _record(section, entry) if isinstance(fields, Mapping) and isinstance(entry, dict) else None
            if cls is not None:
                yield from ((cls, entry, key, said) for key, said in fields.items() if key in entry)


def _record(section: str, entry: Mapping[str, Any]) -> type[Record] | None:
    """The class of an entry; None if the entry does not state it correctly, which is refused elsewhere."""
    if section in RECORDS:
        return RECORDS[section]
    try:
        return spec_class(SECTIONS[section], entry["kind"])
    except (ConfigError, KeyError, TypeError):
        return None


def _settled(cls: type[Record], name: str, value: Any, said: Any) -> Any:
    """The value with its text as it is, if the setting takes that, else with the text read as YAML does."""
    info = cls.model_fields.get(name)
    if info is None or info.annotation is None:
        return value
    read = _replaced(value, said, _scalar)
    for candidate in (_replaced(value, said, lambda text: None if text in NULL else text), value, read):
        try:
            TypeAdapter(info.annotation).validate_json(json.dumps(candidate), strict=True)
        except (ValidationError, TypeError, ValueError):
            continue
        return candidate
    return read


def _replaced(value: Any, said: Any, read: Any) -> Any:
    """`value` with the texts in it that `said` holds at the same place replaced by `read` of them."""
    if isinstance(value, Mapping) and isinstance(said, Mapping):
        return {key: _replaced(part, said.get(key), read) for key, part in value.items()}
    if isinstance(value, list) and isinstance(said, list) and len(value) == len(said):
        return [_replaced(part, text, read) for part, text in zip(value, said, strict=True)]
    return read(value) if isinstance(value, str) and value == said else value


def _scalar(text: str) -> Any:
    """`0.5`, `3`, `true`, `null` as YAML reads them, and `1e-3` as a number; numbers in base 8 and 60 stay text."""
    if OTHER_BASE.fullmatch(text):
        return text
    if any(letter in text for letter in "eE."):
        with suppress(ValueError):
            return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
