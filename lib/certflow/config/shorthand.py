"""What a configuration writes once and names where it is used: `recipes` of settings, and `lists` for what becomes a page.

Both are put in before entries are checked, so that everything after it sees whole entries.
"""

from collections.abc import Mapping
from typing import Any

from certflow.config.records import listing
from certflow.errors import ConfigError, listed
from certflow.kinds.spec import Record

RECIPE = "recipe"
"""Key under which an entry, or a mapping within it, names the recipe that it starts from."""


def recipes(raw: Mapping[str, Any], problems: list[str]) -> dict[str, Mapping[str, Any]]:
    """The recipes by name. A recipe is settings without a kind, which every entry states on its own."""
    good = {}
    for name, settings in _named(raw, "recipes", problems).items():
        if not isinstance(settings, Mapping):
            problems.append(f"recipes.{name}: must be a mapping of settings, got {settings!r}")
        elif "kind" in settings:
            problems.append(f"recipes.{name}.kind: does not belong in a recipe; the entries that use it say their kind")
        else:
            good[name] = settings
    return good


def lists(raw: Mapping[str, Any], problems: list[str]) -> dict[str, list[Any]]:
    """The lists by name."""
    good = {}
    for name, values in _named(raw, "lists", problems).items():
        if isinstance(values, list):
            good[name] = values
        else:
            problems.append(f"lists.{name}: must be a list, got {values!r}")
    return good


def _named(raw: Mapping[str, Any], section: str, problems: list[str]) -> Mapping[str, Any]:
    value = raw.get(section, {})
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return value
    problems.append(f"{section}: must be a mapping from names, got {value!r}")
    return {}


def with_recipes(
    fields: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], within: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Settings with those of the recipes that they, and the mappings within them, name; a mapping's own settings win.

    known: recipes by name. within: recipes that are being put in. `ConfigError` that starts with the place in `fields`.
    """
    own = {key: _value(key, value, known, within) for key, value in fields.items() if key != RECIPE}
    if RECIPE not in fields:
        return own
    name = fields[RECIPE]
    if not isinstance(name, str) or name not in known:
        raise ConfigError([f"{RECIPE}: there is no recipe {name!r}; known: {listed(known, name)}"])
    if name in within:
        raise ConfigError([f"{RECIPE}: {name!r} refers to itself"])
    return {**with_recipes(known[name], known, (*within, name)), **own}


def _value(key: str, value: Any, known: Mapping[str, Mapping[str, Any]], within: tuple[str, ...]) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        return with_recipes(value, known, within)
    except ConfigError as error:
        raise ConfigError([f"{key}.{line}" for line in error.problems]) from None


def with_lists(
    record: type[Record], fields: Mapping[str, Any], known: Mapping[str, list[Any]], problems: list[str]
) -> dict[str, Any]:
    """The settings of a record, where those that are lists may be given by name; one that names none is left as it is.

    known: lists by name. problems: gets a line, which starts with the place in `fields`, for each name that is none.
    """
    named = {key: value for key, value in fields.items() if listing(record, key) and isinstance(value, str)}
    problems += [
        f"{key}: there is no list {value!r}; known: {listed(known, value)}; for one entry write [{value}]"
        for key, value in named.items()
        if value not in known
    ]
    return {**fields, **{key: known[value] for key, value in named.items() if value in known}}
