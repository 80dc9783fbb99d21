"""What all pages share: templates, tables of blocks, figures within the page, machines and versions."""

import base64
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from certflow.files.atomic import atomic
from certflow.files.provenance import Provenance
from certflow.kinds.spec import canonical_json
from certflow.report.layout import Block, Group, Row

TEMPLATES = Path(__file__).with_name("templates")
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}


def write_html(path: str | Path, template: str, context: Mapping[str, Any]) -> None:
    """Write a page that needs no other file and no network; text of the context is escaped. Equal input gives equal bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with atomic(path) as part:
        part.write_text(environment.get_template(template).render(context), encoding="utf-8")


def html_table(block: Block) -> dict[str, Any]:
    """A block with the titles of its groups as first column, so that its rows can be sorted over all of them.

    Each body is a line with the published rows that belong to it: they stay together when the table is sorted.
    """
    bodies: list[list[dict[str, Any]]] = []
    for group in block.groups:
        for row in group.rows:
            if row.role in ("ours", "external"):
                bodies.append([])
            bodies[-1].append(_html_row(row, group))
    return {
        "columns": (block.grouped_by, *block.columns),
        "names": 1 + block.names,
        "over_from": 1 + block.over_from,
        "over": block.over,
        "bodies": bodies,
    }


def _html_row(row: Row, group: Group) -> dict[str, Any]:
    noise = group.title if row.role in ("ours", "external") else ""
    cells = [{"text": noise, "small": "", "best": False, "key": f"{group.sigma!r}"}]
    for cell in row.cells:
        cells.append({"text": cell.text, "small": cell.small, "best": cell.best, "key": _key(cell.text)})
    return {"role": row.role, "cells": cells}


def _key(text: str) -> str:
    """What a cell is sorted by: its number, if it starts with one."""
    found = re.match(r"(?:[≤≥] )?([-−+]?[\d,]*\.?\d+(?:e-?\d+)?)", text)
    return found[1].replace(",", "").replace("−", "-") if found else text


def html_figure(heading: str, reading: str, content: bytes, suffix: str) -> dict[str, str]:
    """Heading, explanation, an address that holds the picture itself, and a width in proportion to that on paper.

    content: of a file with this ending.
    """
    width = f"{8 * inches(content):.1f}rem"
    source = f"data:{MEDIA[suffix]};base64,{base64.b64encode(content).decode()}"
    return {"heading": heading, "reading": reading, "source": source, "width": width}


def inches(content: bytes) -> float:
    """Width of one of our figures on paper, from the bytes of its svg (in points) or png (300 dots per inch)."""
    if content.startswith(b"\x89PNG"):
        return int.from_bytes(content[16:20], "big") / 300
    found = re.search(rb'<svg[^>]*\swidth="([\d.]+)pt"', content)
    return float(found[1]) / 72 if found else 6.75


def stated_settings(specs: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Entries of the configuration that specifications state, each name once, of the first that states it."""
    found: dict[str, str] = {}
    for spec in specs:
        for name, value in spec.items():
            if isinstance(value, Mapping):
                found.setdefault(name, canonical_json(value))
    return sorted(found.items())


def circumstances(labelled: Iterable[tuple[str, Provenance]]) -> list[dict[str, str]]:
    """Devices, versions and facts found out on the way, each combination once, with the labels that it holds for."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for label, record in labelled:
        found.setdefault(_circumstance(record), {})[label] = None
    return [
        {"device": device, "versions": versions, "notes": remarks, "lines": "; ".join(labels)}
        for (device, versions, remarks), labels in found.items()
    ]


def _circumstance(record: Provenance) -> tuple[str, str, str]:
    """Device, versions and facts found out on the way, as text."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(record.versions.items()))
    remarks = ", ".join(f"{name}: {_said(value)}" for name, value in sorted(record.notes.items()))
    return record.device, versions, remarks


def _said(value: Any) -> str:
    """A plain value as a reader writes it, not as a program does."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name} {_said(part)}' for name, part in sorted(value.items()))})"
    return ", ".join(map(_said, value)) if isinstance(value, list | tuple) else str(value)
