"""The configuration's JSON schema, for editors: made from the models that check it. `make schema` writes it."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from certflow.config import RECORDS, SECTIONS
from certflow.config.records import PAGES, listing
from certflow.config.shorthand import RECIPE
from certflow.kinds.described import described_schema
from certflow.kinds.registry import kinds, spec_class
from certflow.kinds.spec import Record

PATH = Path(__file__).resolve().parents[3] / "schemas" / "config.schema.json"
PRESET = {
    "preset": {
        "type": "string",
        "description": "Preset whose row for (dataset, method, noise, sigma) is the starting point.",
    },
    "preset_dataset": {
        "type": "string",
        "description": "Take the row of this dataset kind instead of the dataset's own.",
    },
}
ABOUT = {
    "datasets": "Images with labels, and where they come from.",
    "corruptions": "Corrupted copies of test images.",
    "noises": "Laws of the noise that models are trained and certified under.",
    "models": "Architectures, and how they are evaluated.",
    "denoisers": "Networks that go before a classifier of clean images.",
    "methods": "How models are trained, or imported.",
    "attacks": "Attacks on models: they bound robust accuracy from above, as certificates bound it from below.",
    "samplers": "How many noisy copies of each image are drawn.",
    "certificates": "How radii follow from the counts of a sampler.",
    "images": "Which images of a split are used.",
    "predictions": "Votes of another model on the training images, which CAT-RS reads.",
    "knowledge": "What `diagnoses` measure in the hidden layers of models.",
    "experiments": "Tables: all combinations of the named methods, noises and certificates, on the same images.",
    "diagnoses": "Pages about the knowledge continuity of models: volatility by depth, certificate, attacks, scores.",
    "recipes": "Settings that several entries start from: an entry, or a mapping within it, says `recipe: name`.",
    "lists": "Lists that experiments and diagnoses can name instead of writing them out.",
    "targets": "Experiments and diagnoses that `snakemake` makes when it is given no target.",
}
"""Section → what its entries are."""
Known = Mapping[str, Collection[str]]
"""Family → kinds."""


def all_kinds() -> Known:
    """Every kind that there is."""
    return {family: kinds(family) for family in SECTIONS.values()}


def schema(known: Known | None = None) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a whole configuration; of the kinds in `known` where that is given."""
    known = known or all_kinds()
    definitions: dict[str, Any] = {}
    sections = {
        section: _entries([_kind(family, kind) for kind in sorted(known[family])], definitions)
        for section, family in SECTIONS.items()
    }
    sections |= {section: _entries([_record(record)], definitions) for section, record in RECORDS.items()}
    definitions = {name: _from_recipe(definition) for name, definition in definitions.items()}
    sections["targets"] = {"type": "array", "items": {"type": "string"}}
    sections["recipes"] = {"type": "object", "additionalProperties": {"type": "object"}}
    sections["lists"] = {"type": "object", "additionalProperties": {"type": "array"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "certflow configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"description": ABOUT[name], **section} for name, section in sections.items()},
        "$defs": definitions,
    }


def _kind(family: str, kind: str) -> dict[str, Any]:
    """One kind's schema; every entry says its kind, and a method may start from a preset."""
    found = described_schema(spec_class(family, kind))
    found["required"] = sorted({"kind", *found.get("required", [])})
    if family == "method":
        found["properties"] |= PRESET
    return found


def _record(record: type[Record]) -> dict[str, Any]:
    """The schema of a section's only kind of entry; the name of a list may stand for one in those that become pages."""
    found = described_schema(record)
    for setting, form in found["properties"].items() if record in PAGES.values() else ():
        if listing(record, setting):
            about = {key: form.pop(key) for key in ("default", "title", "description") if key in form}
            found["properties"][setting] = {"anyOf": [form, {"type": "string"}], **about}
    return found


def _entries(choices: list[dict[str, Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of a section: names to one of `choices`, whose shared definitions move to `definitions`."""
    for choice in choices:
        definitions.update(choice.pop("$defs", {}))
    choices = [_from_recipe(choice) for choice in choices]
    entry = choices[0] if len(choices) == 1 else {"oneOf": choices}
    return {"type": "object", "additionalProperties": entry}


def _from_recipe(choice: dict[str, Any]) -> dict[str, Any]:
    """A record's schema where its settings may come from a recipe: all but its kind."""
    if "properties" not in choice:
        return choice
    needed = choice.get("required", [])
    kind = [name for name in needed if name == "kind"]
    either = {"anyOf": [{"required": [RECIPE]}, {"required": needed}]} if needed != kind else {}
    properties = {**choice["properties"], RECIPE: {"type": "string", "description": "One of `recipes` to start from."}}
    return {**choice, **either, "properties": properties, "required": kind}


def render(known: Known | None = None) -> str:
    """The text of the schema file."""
    return json.dumps(schema(known), indent=1, sort_keys=True) + "\n"


def kinds_in(text: str) -> Known:
    """The kinds that a schema file describes."""
    sections = json.loads(text)["properties"]
    found = {}
    for section, family in SECTIONS.items():
        entry = sections[section]["additionalProperties"]
        choices = entry.get("oneOf", [entry])
        found[family] = [choice["properties"]["kind"]["const"] for choice in choices]
    return found
