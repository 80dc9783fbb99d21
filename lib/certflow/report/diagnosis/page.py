"""The page of a diagnosis: one HTML file that needs no other file and no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.report.diagnosis import notes, tables
from certflow.report.html import circumstances, html_figure, html_table, stated_settings, write_html
from certflow.report.layout import Block

if TYPE_CHECKING:
    from certflow.report.diagnosis.models import Diagnosed
    from certflow.report.diagnosis.stage import Found


def write_diagnosis_page(
    path: str | Path, spec: Mapping[str, Any], found: "Found", pictures: Mapping[str, bytes], files: Mapping[str, str]
) -> None:
    """spec: `Study.diagnosis_spec`. pictures: figure → its bytes as svg. files: path of each table → digest."""
    context = {
        "title": spec["title"],
        "remark": spec["remark"],
        "facts": _facts(spec, found.models),
        "overview": html_table(tables.facts_block(found.models)),
        "overview_notes": notes.score_notes(found.models),
        "sections": _sections(found, pictures),
        "files": [{"of": Path(name).parent.name, "path": name, "digest": digest} for name, digest in files.items()],
        "settings": stated_settings([found.models[0].record.spec]),
        "circumstances": circumstances((model.label, model.record) for model in found.models),
    }
    write_html(path, "diagnosis.html.j2", context)


def _facts(spec: Mapping[str, Any], models: Sequence["Diagnosed"]) -> list[tuple[str, str]]:
    """What was looked at, as pairs of name and value."""
    data = spec["data"]
    found = [
        ("dataset", data["dataset"]),
        ("network", data["model"]),
        ("methods", ", ".join(dict.fromkeys(model.method for model in models))),
        ("noise levels", ", ".join(dict.fromkeys(model.noise for model in models))),
        ("training seeds", ", ".join(dict.fromkeys(str(model.seed) for model in models))),
        ("points", f"{models[0].volatility['points'].iloc[0]:,} of the test split"),
    ]
    attacks = dict.fromkeys(run["attack"] for run in spec["attacks"])
    return [*found, ("attacks", f"{', '.join(attacks)} on {data['images']}")] if attacks else found


def _sections(found: "Found", pictures: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """What the page shows, in order; attacks and scores where there are any."""
    models = found.models
    sections = [
        _section(
            "volatility",
            "Volatility",
            pictures,
            tables.layer_blocks(models),
            notes.layer_notes(models),
        ),
        _section(
            "certificate", "Certificate", pictures, [tables.certificate_block(models)], notes.certificate_notes(models)
        ),
    ]
    if found.attacks:
        shown = tables.attack_blocks(models, found.attacks)
        sections.append(_section("attacks", "Attacks", pictures, shown, notes.attack_notes(found.attacks)))
    if found.beside is not None:
        shown = tables.beside_blocks(found.beside)
        sections.append(_section("scores", "Scores", pictures, shown, notes.beside_notes(found.beside)))
    return sections


def _section(
    name: str, short: str, pictures: Mapping[str, bytes], shown: Sequence[Block], remarks: Sequence[str]
) -> dict[str, Any]:
    heading, reading = notes.READINGS[name]
    return {
        "id": name,
        "short": short,
        "heading": heading,
        "figure": html_figure(heading, reading, pictures[name], ".svg"),
        "tables": [html_table(block) for block in shown],
        "notes": list(remarks),
    }
