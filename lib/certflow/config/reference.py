"""docs/reference.md: every kind and every setting, from the classes that check them. `make schema` writes it."""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from certflow.config import RECORDS, SECTIONS
from certflow.config.schema import ABOUT, PATH, PRESET, Known, all_kinds
from certflow.kinds.described import described_schema, records
from certflow.kinds.registry import spec_class
from certflow.kinds.spec import Record, Spec

REFERENCE = PATH.parents[1] / "docs" / "reference.md"
HEAD = """# Reference

Every section of the configuration, every kind of entry, every setting. `make schema` writes this page from the classes in
`lib/certflow`, which also check the configuration; the description of a setting is the text below it in the source.

Sections: {sections}. An entry is `name: {{kind: ..., setting: ...}}`. Settings without a default must be given.
"""
TABLE = "| setting | what it is | values | default |\n| --- | --- | --- | --- |\n"
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def render(known: Known | None = None) -> str:
    """The page's text; of the kinds in `known` where that is given."""
    known = known or all_kinds()
    parts = [HEAD.format(sections=", ".join(f"[{name}](#{name})" for name in [*SECTIONS, *RECORDS]))]
    nested: dict[str, type[Record]] = {}
    for section, family in SECTIONS.items():
        classes = [spec_class(family, kind) for kind in sorted(known[family])]
        parts += [f"## {section}\n\n{ABOUT[section]}\n", *_family(family, classes)]
        nested |= _nested(classes)
    for section, record in RECORDS.items():
        parts += [f"## {section}\n\n{ABOUT[section]}\n\n{_text(record)}\n", _table(described_schema(record))]
        nested |= _nested([record])
    parts.append("## Nested settings\n\nWhat some settings above contain.\n")
    parts += [_of(record, f"### {name}\n") for name, record in sorted(nested.items())]
    return "\n".join(parts)


def kinds_in(text: str) -> Known:
    """The kinds that a page describes."""
    found: dict[str, list[str]] = {family: [] for family in SECTIONS.values()}
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif section in SECTIONS and (kind := re.fullmatch(r"### `(\w+)`", line)):
            found[SECTIONS[section]].append(kind[1])
    return found


def _family(family: str, classes: list[type[Spec]]) -> Iterator[str]:
    """What all kinds of a family have, once, then each kind with what is its own."""
    base = next(cls for cls in classes[0].__mro__ if issubclass(cls, Spec) and Spec in cls.__bases__)
    shared = described_schema(base)
    del shared["properties"]["kind"]
    if family == "method":
        shared["properties"] |= PRESET
    yield f"Settings of every {family}, unless its kind says otherwise:\n"
    yield _table(shared)
    for cls in classes:
        found = described_schema(cls)
        own = {n: p for n, p in found["properties"].items() if n != "kind" and shared["properties"].get(n) != p}
        yield _of(cls, f"### `{cls.model_fields['kind'].default}`\n", found | {"properties": own})


def _of(record: type[Record], heading: str, schema: dict[str, Any] | None = None) -> str:
    """Heading, docstring, example and table of a record."""
    schema = schema or described_schema(record)
    parts = [heading, _text(record) + "\n"]
    if issubclass(record, Spec) and record.example:
        parts.append(f"For example `{_yaml({'kind': record.model_fields['kind'].default, **record.example})}`.\n")
    parts.append(_table(schema) if schema["properties"] else "It has no settings of its own.\n")
    return "\n".join(parts)


def _nested(holders: Iterable[type[Record]]) -> dict[str, type[Record]]:
    return {r.__name__: r for holder in holders for r in records(holder) if r is not holder}


def _text(record: type[Record]) -> str:
    """The docstring, with lines joined to paragraphs."""
    paragraphs = inspect.cleandoc(record.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _table(schema: dict[str, Any]) -> str:
    needed, rows = set(schema.get("required", [])), []
    for name, prop in schema["properties"].items():
        default = "" if name in needed or "default" not in prop else f"`{_yaml(prop['default'])}`"
        cells = (f"`{name}`", prop.get("description", ""), _values(prop), default)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return TABLE + "".join(rows)


def _values(prop: dict[str, Any]) -> str:
    """What a setting may be, in words."""
    if "$ref" in prop:
        name = prop["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in prop or "enum" in prop:
        return ", ".join(f"`{_yaml(value)}`" for value in prop.get("enum", [prop.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in prop:
            return " or ".join(dict.fromkeys(_values(choice) for choice in prop[key]))
    if prop.get("type") == "array":
        return _list(prop)
    if prop.get("type") == "object":
        return "settings by name"
    bounds = [f"{word} {prop[key]:,}" for key, word in BOUNDS.items() if key in prop]
    return ", ".join([TYPES.get(prop.get("type", ""), "any value"), *bounds])


def _list(prop: dict[str, Any]) -> str:
    low, high = prop.get("minItems"), prop.get("maxItems")
    size = "" if low is None else f" ({low})" if low == high else f" (at least {low})"
    items = prop.get("items", (prop.get("prefixItems") or [{}])[0])
    return f"list{size} of: {_values(items)}"


def _yaml(value: Any) -> str:
    """The value as it would be written on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w. -]*", value) else json.dumps(value)
