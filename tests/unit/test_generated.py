"""What is written from the configuration's classes: the schema for editors and docs/reference.md."""

import json
import re

import pytest
import yaml

from certflow.config import RECORDS, SECTIONS, generated, reference, schema
from certflow.kinds.described import descriptions
from certflow.kinds.registry import kinds, spec_class
from certflow.kinds.spec import Record


@pytest.mark.parametrize("path", generated.PAGES, ids=lambda path: path.name)
def test_the_file_says_of_each_kind_what_the_code_says(path):
    """A kind that the file does not know yet makes nothing red here: `make lint` asks for it."""
    page, text = generated.PAGES[path], path.read_text()
    gone = [f"{f} {k}" for f, known in page.kinds_in(text).items() for k in known if k not in kinds(f)]
    assert not gone, f"{path.name} describes {', '.join(gone)}, which the code does not have; run `make schema`"
    assert text == page.render(page.kinds_in(text)), f"{path.name} is not what the code says now; run `make schema`"


@pytest.mark.parametrize("page", [schema, reference], ids=lambda page: page.__name__)
def test_a_file_from_before_a_kind_existed_is_compared_with_what_it_knows(page):
    known = {family: [kind for kind in kinds(family) if kind != "gaussian"] for family in SECTIONS.values()}
    old = page.render(known)
    assert page.kinds_in(old) == known and "`gaussian`\n" not in old
    assert page.kinds_in(page.render()) == {family: list(kinds(family)) for family in SECTIONS.values()}


def test_checking_names_what_is_stale_and_writing_mends_it(tmp_path, monkeypatch, capsys):
    pages = {tmp_path / "made" / path.name: page for path, page in generated.PAGES.items()}
    monkeypatch.setattr(generated, "PAGES", pages)
    assert generated.main(["--check"]) == 2
    assert "config.schema.json, reference.md: not what the code says now; run `make schema`" in capsys.readouterr().err
    assert generated.main([]) == 0 and generated.main(["--check"]) == 0


def properties(part):
    """Every property below a part of the schema, with its name."""
    if isinstance(part, dict):
        found = part.get("properties")
        if isinstance(found, dict):
            yield from found.items()
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from properties(inner)


def test_settings_are_described():
    """Nineteen of twenty at least; in fact all of those that are committed."""
    found = list(properties(schema.schema()))
    silent = [name for name, prop in found if not prop.get("description")]
    assert len(found) > 400 and len(silent) <= 0.05 * len(found), f"write a docstring below {', '.join(silent)}"


def test_every_committed_setting_is_described():
    text = schema.PATH.read_text()
    assert [name for name, prop in properties(json.loads(text)) if not prop.get("description")] == []


def test_descriptions_are_inherited_and_can_be_said_anew():
    class Base(Record):
        first: int
        """Of the base,
        on two lines."""
        second: int
        """Also of the base."""
        third: int
        "No docstring of a field follows this one."

    class Derived(Base):
        first: int = 1
        second: int = 2
        """Its own."""
        fourth: int

    assert descriptions(Derived) == {
        "first": "Of the base, on two lines.",
        "second": "Its own.",
        "third": "No docstring of a field follows this one.",
    }


def test_classes_without_source_have_no_descriptions():
    made = type("Made", (Record,), {"__annotations__": {"x": int}, "__module__": "nowhere"})
    assert descriptions(made) == {}


def test_the_reference_has_a_section_for_each_kind_and_each_setting():
    text = reference.render()
    for section, family in SECTIONS.items():
        part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        for kind in kinds(family):
            assert f"\n### `{kind}`\n" in part
            cls = spec_class(family, kind)
            for name in cls.model_fields:
                assert name == "kind" or f"\n| `{name}` |" in part, (kind, name)
    for section, record in RECORDS.items():
        part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert all(f"\n| `{name}` |" in part for name in record.model_fields)


def test_examples_in_the_reference_are_yaml_of_possible_entries():
    text = reference.render()
    found = re.findall(r"^For example `(\{.*\})`\.$", text, re.MULTILINE)
    wanted = [
        {"kind": kind, **spec_class(family, kind).example}
        for family in SECTIONS.values()
        for kind in kinds(family)
        if spec_class(family, kind).example
    ]
    assert [yaml.safe_load(one) for one in found] == wanted


def test_ranges_and_defaults_are_stated():
    text = reference.render()
    assert "| `sigma` | Standard deviation per coordinate, in [0,1]-pixel units; 0.25, 0.5 and 1.0 in most papers. | number, above 0 |  |" in text  # fmt: skip # noqa: E501
    assert "| whole number, at least 1, at most 100,000,000 | `100000` |" in text
    assert "[Inference](#inference)" in text
