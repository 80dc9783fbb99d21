"""What README and docs point at is there: files, headings, make targets, scripts. What settings are is in `test_generated`."""

import ast
import inspect
import re
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from certflow.kinds.registry import spec_class
from certflow.training import attacks
from certflow.training.base import MethodSpec
from certflow.training.batch import Batch

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "lib").rglob("*.md")])
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(?!configfile:)(.*?)^```", re.MULTILINE | re.DOTALL)  # others are of a Snakefile


def anchors(page: Path) -> set[str]:
    """Headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def linked(page: Path) -> list[Path]:
    """Files of the project that a page links to."""
    links = [link.partition("#")[0] for link in LINK.findall(FENCE.sub("", page.read_text())) if ":" not in link]
    return [(page.parent / link).resolve() for link in links if link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    dead = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_links_lead_to_pages_that_the_site_has():
    site = runpy.run_path(str(ROOT / "tools" / "site" / "pages.py"))["OUTSIDE"]
    pages = [ROOT / name for name in site] + list((ROOT / "docs").rglob("*.md"))
    for page in pages:
        targets = [target.relative_to(ROOT) for target in linked(page)]
        lost = [str(target) for target in targets if target.parts[0] != "docs" and str(target) not in site]
        assert not lost, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_there_is(page):
    text = page.read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
        assert target in targets, target
    for path in re.findall(r"(?<![\w/.-])((?:benchmarks|configs|profiles|tools|tests|rules|lib)/[\w./-]*\w)", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (certflow\.[\w.]+)", text):
        assert (ROOT / "lib" / f"{module.replace('.', '/')}.py").exists(), module


def called(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a call in an example calls, where that is a function of ours or a method of a class of ours; else None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = called(node.value.func if isinstance(node.value, ast.Call) else node.value, names)
        return getattr(owner, node.attr) if isinstance(owner, ModuleType | type) else None
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_calls_in_examples_fit_the_functions(page):
    """Names that an example imports are there, and its calls have the arguments that are asked for and no others."""
    names: dict[str, Any] = {}
    for block in PYTHON.findall(page.read_text()):
        tree = ast.parse(block)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "certflow":
                exec(compile(ast.Module([node], []), page.name, "exec"), names)
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            function = called(node.func, names)
            if callable(function):
                itself = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call)
                positional = [None] * (len(node.args) + itself)
                inspect.signature(function).bind(*positional, **{word.arg: None for word in node.keywords if word.arg})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_have_a_line_below_their_heading(page):
    """A table that an empty line cuts in two is printed as text from there on."""
    lines = ["", *FENCE.sub("", page.read_text()).split("\n"), ""]
    starts = [n for n, line in enumerate(lines) if line.startswith("|") and not lines[n - 1].startswith("|")]
    assert all(re.fullmatch(r"[|:\- ]+", lines[n + 1]) for n in starts), [lines[n][:60] for n in starts]


def rules() -> set[str]:
    """Names of the workflow's rules."""
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    return set(re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)", text, re.MULTILINE))


def test_the_list_of_results_names_every_rule():
    names = rules()
    listed = (ROOT / "results" / "README.md").read_text()
    assert names and {name for name in names if f"`{name}`" not in listed} == set()


def test_every_page_of_docs_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [target for target in linked(page) if target.suffix == ".md"]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


@pytest.mark.parametrize("overlay", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_overlay_says_how_it_is_used(overlay):
    text = overlay.read_text()
    command = re.search(
        rf"^#   snakemake .*--configfile (?:configs/\S+ )*configs/{overlay.name} -- results/\w+/([\w-]+)\.\w+$",
        text,
        re.M,
    )
    config = yaml.safe_load(text)
    assert command and command[1] in {**config.get("experiments", {}), **config.get("diagnoses", {})}


def test_the_row_of_pilot_tells_its_defaults():
    (row,) = re.findall(r"^\| `pilot` \| (.*?) \|", (ROOT / "docs" / "sampling.md").read_text(), re.MULTILINE)
    pilot = spec_class("sampler", "pilot")()
    assert list(map(int, re.findall(r"\d+", row))) == [pilot.first, pilot.misses, pilot.clean, pilot.n_max]


def test_what_the_page_on_training_says_of_methods_is_there():
    """Names in its last two sections are of methods, of mini-batches or of rules, and take the arguments that stand there."""
    text = FENCE.sub("", (ROOT / "docs" / "training.md").read_text().partition("## How a model is made")[2])
    owners = {"": [MethodSpec, attacks], "batch.": [Batch]}
    spans = re.findall(r"`(batch\.|)(\w+)(?:\((.*?)\)| = \w+|)`", text)
    assert len(spans) > 20
    for prefix, name, arguments in spans:
        if name in rules() or any(name in getattr(owner, "__annotations__", ()) for owner in owners[prefix]):
            continue
        found = next((getattr(owner, name) for owner in owners[prefix] if hasattr(owner, name)), None)
        assert found is not None, f"{prefix}{name}"
        if arguments and "." not in arguments:
            parameters = [one for one in inspect.signature(found).parameters.values() if one.name != "self"]
            given = arguments.split(", ")
            assert [one.name for one in parameters[: len(given)]] == given, name
            assert all(one.default is not one.empty for one in parameters[len(given) :]), name
