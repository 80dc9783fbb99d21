"""The configuration's JSON schema, for editors: made from the models that check it. `make schema` writes it."""

import json
from pathlib import Path
from typing import Any

from certflow.config import RECORDS, SECTIONS
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


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a whole configuration."""
    definitions: dict[str, Any] = {}
    sections = {
        section: _entries([_kind(family, kind) for kind in kinds(family)], definitions)
        for section, family in SECTIONS.items()
    }
    sections |= {section: _entries([record.model_json_schema()], definitions) for section, record in RECORDS.items()}
    sections["targets"] = {"type": "array", "items": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "certflow configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": sections,
        "$defs": definitions,
    }


def _kind(family: str, kind: str) -> dict[str, Any]:
    """One kind's schema; every entry says its kind, and a method may start from a preset."""
    found = spec_class(family, kind).model_json_schema()
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


def render() -> str:
    """The text of the schema file."""
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(render())
