"""From the mapping that was read to entries; what is wrong with their form is collected, with its place in the file.

The functions append what is wrong to `problems` and go on with the rest: a reader sees everything at once.
"""

import re
from collections.abc import Mapping
from typing import Any

from certflow.config import shorthand
from certflow.config.records import PAGES, RECORDS, SECTIONS, MethodEntry
from certflow.config.validation import validated
from certflow.errors import ConfigError, listed
from certflow.kinds.registry import spec_class
from certflow.presets import require_preset
from certflow.training.base import MethodSpec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""What an entry may be called: names become path segments, of which file systems take 255 characters, endings included."""

PRESET_KEYS = ("preset", "preset_dataset")
"""What an entry of `methods` may say besides its kind's settings."""

Written = Mapping[str, Mapping[str, dict[str, Any]]]
"""Section → name → settings as they stand in the file, of all entries that have a name and settings."""


def sections(raw: Mapping[str, Any], problems: list[str]) -> Written:
    """The named entries of every section there can be, with what recipes and lists stand for in its place."""
    known = {*SECTIONS, *RECORDS, "targets", "recipes", "lists"}
    problems += [f"{key}: no such section; known: {listed(sorted(known), key)}" for key in raw if key not in known]
    recipes, lists = shorthand.recipes(raw, problems), shorthand.lists(raw, problems)
    written = {section: _section(raw, section, problems) for section in (*SECTIONS, *RECORDS)}
    for section, name in [(section, name) for section, entries in written.items() for name in entries]:
        found: list[str] = []
        try:
            fields = written[section][name] = shorthand.with_recipes(written[section][name], recipes)
            if section in PAGES:
                written[section][name] = shorthand.with_lists(PAGES[section], fields, lists, found)
        except ConfigError as error:
            found += error.problems
        except RecursionError:  # an anchor of YAML within itself, which is refused when the entry is parsed
            continue
        problems += [_under(f"{section}.{name}", line) for line in found]
    return written


def _section(raw: Mapping[str, Any], section: str, problems: list[str]) -> dict[str, dict[str, Any]]:
    value = raw.get(section, {})
    if not isinstance(value, Mapping):
        problems.append(f"{section}: must be a mapping from names to entries, got {value!r}")
        return {}
    good = {}
    for name, fields in value.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(
                f"{section}.{name}: a name is made of up to 100 letters, digits and ._+- and becomes a folder; quote numbers, "
                "and the words no, off, yes, on and null"
            )
        elif not isinstance(fields, Mapping):
            problems.append(f"{section}.{name}: must be a mapping of settings, got {fields!r}")
        else:
            good[name] = dict(fields)
    return good


def parsed(written: Written, problems: list[str]) -> dict[str, dict[str, Any]]:
    """The entries whose settings are right, by section and name. A setting that has a problem already gets no second one, and
    where a recipe is unknown, no setting is called missing."""
    good: dict[str, dict[str, Any]] = {section: {} for section in written}
    said = {line.partition(": ")[0] for line in problems}
    for section, name, fields in ((s, n, f) for s in written for n, f in written[s].items()):
        try:
            good[section][name] = _entry(section, fields)
        except ConfigError as error:
            lines = (_under(f"{section}.{name}", line) for line in error.problems)
            problems += [line for line in lines if not _told(line, said)]
    return good


def _told(line: str, said: set[str]) -> bool:
    """Whether a problem follows from those that were reported already. said: their places."""
    place, _, what = line.partition(": ")
    return place in said or (what == "is missing" and f"{place.rpartition('.')[0]}.{shorthand.RECIPE}" in said)


def _entry(section: str, fields: dict[str, Any]) -> Any:
    """One parsed entry; a `ConfigError` whose lines start with the field's path within it."""
    if section in RECORDS:
        return validated(RECORDS[section], fields)
    if not isinstance(fields.get("kind"), str):
        raise ConfigError([f"kind: is missing; say which kind of {SECTIONS[section]} this is"])
    if section == "methods":
        return _method(spec_class("method", fields["kind"]), fields)
    return validated(spec_class(SECTIONS[section], fields["kind"]), fields)


def _method(cls: type[MethodSpec], fields: dict[str, Any]) -> MethodEntry:
    """A method's own keys are checked here; with its preset, they are a recipe only on a dataset at a noise level, and what has
    an effect is known there."""
    own = {key: value for key, value in fields.items() if key not in ("kind", *PRESET_KEYS)}
    if fields.get("preset") is not None:
        require_preset(fields["preset"])
    validated(cls, {"kind": fields["kind"], **own}, stated=() if "preset" in fields else None)
    if "preset_dataset" in fields and "preset" not in fields:
        raise ConfigError(["preset_dataset: is only used together with `preset`"])
    return MethodEntry(fields["kind"], fields.get("preset"), fields.get("preset_dataset"), own)


def _under(place: str, line: str) -> str:
    """A problem's line with the place of its entry before it; a line that starts with a colon is about the whole entry."""
    return f"{place}{line}" if line.startswith(":") else f"{place}.{line}"


def targets(raw: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Names of the experiments and diagnoses that are made unless others are asked for."""
    value = raw.get("targets", [])
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    problems.append(f"targets: must be a list of names, got {value!r}")
    return ()
