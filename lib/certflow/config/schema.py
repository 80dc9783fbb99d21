"""The configuration's JSON schema, for editors: made from the models that check it. `make schema` writes it."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from certflow.config import RECORDS, SECTIONS
from certflow.kinds.described import described_schema
from certflow.kinds.registry import kinds, spec_class

PATH = Path(__file__).resolve().parents[3] / "schemas" / "config.schema.json"
PRESET = {
    "preset": {
        "type": "string",
        "description": "Preset whose row for (dataset, method, sigma) is the starting point.",
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
    "methods": "How models are trained, or brought along.",
    "attacks": "What bounds robust accuracy from above, beside the certificates that bound it from below.",
    "samplers": "How many noisy copies of each image are drawn.",
    "certificates": "How radii follow from the counts of a sampler.",
    "images": "Which images of a split are used.",
    "predictions": "Votes of another model on the training images, which CAT-RS reads.",
    "experiments": "Tables: every method, noise and certificate that is named, on the same images.",
    "targets": "Files that a run without arguments makes.",
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
    sections |= {section: _entries([described_schema(record)], definitions) for section, record in RECORDS.items()}
    sections["targets"] = {"type": "array", "items": {"type": "string"}}
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


def _entries(choices: list[dict[str, Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of a section: names to one of `choices`, whose shared definitions move to `definitions`."""
    for choice in choices:
        definitions.update(choice.pop("$defs", {}))
    entry = choices[0] if len(choices) == 1 else {"oneOf": choices}
    return {"type": "object", "additionalProperties": entry}


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
