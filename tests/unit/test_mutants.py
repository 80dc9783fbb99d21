"""The tool that asks whether tests would notice: its changes, its lists, its private copies."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "mutants"
SOURCE = '''"""A module."""

import math

LIMIT = 3


def first(a, b, *, keep=True):
    """Text."""
    if a < b and keep:
        raise ValueError(f"a: {a + 1}")
    for row in range(3):
        a += row
    return math.floor(-a) if a > 0 else min(a, b)
'''


@pytest.fixture(scope="module")
def tool():
    """The tool's modules, which stand in no package."""
    names = ("edits", "listed", "copies", "report", "maps", "near")
    sys.path.insert(0, str(TOOL))
    try:
        return {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(TOOL))
        for name in names:
            sys.modules.pop(name, None)


def test_each_change_is_one_that_the_file_compiles_with(tool):
    edits = tool["edits"].edits_of(SOURCE)
    texts = [edit.applied(SOURCE) for edit in edits]
    assert len(set(texts)) == len(texts) and SOURCE not in texts
    for text in texts:
        compile(text, "changed", "exec")
        ours, theirs = tool["edits"].changed_lines(SOURCE, text)
        assert ours and theirs and ours != theirs


@pytest.mark.parametrize(
    "changed",
    [
        "LIMIT = 4", "LIMIT = (2)", "def first(a, b, *, keep=False):", "if (a <= b) and keep:", "if (a >= b) and keep:",
        "if (a < b or keep):", "if (keep):", "if (a < b):", "if not (a < b and keep):", "pass", "for row in range(4):",
        "a -= row", "return None", "return math.ceil(-a) if a > 0 else min(a, b)",
        "return math.floor((a)) if a > 0 else min(a, b)",
        "return (math.floor(-a))", "return (min(a, b))", "return math.floor(-a) if a > 0 else max(a, b)",
        "return math.floor(-a) if (a >= 0) else min(a, b)", "return math.floor(-a) if a > 1 else min(a, b)",
    ],
)  # fmt: skip
def test_it_makes_the_changes_that_people_make(tool, changed):
    found = {tool["edits"].changed_lines(SOURCE, edit.applied(SOURCE))[1] for edit in tool["edits"].edits_of(SOURCE)}
    assert changed in found


def test_messages_docstrings_and_symmetric_calls_are_left_alone(tool):
    for edit in tool["edits"].edits_of(SOURCE):
        text = edit.applied(SOURCE)
        assert "A module." in text and "Text." in text and "min(b, a)" not in text
        assert "a - 1" not in text


def test_examples_of_kinds_are_left_alone(tool):
    """Any small instance serves."""
    source = "class Kind:\n    example: dict = {'n': 3}\n    most: int = 4\n"
    assert {edit.lines for edit in tool["edits"].edits_of(source)} == {(3, 3)}


def test_a_change_knows_its_statement_and_whether_that_runs_at_import(tool):
    statement_at = tool["edits"].statement_at
    assert statement_at(SOURCE, 5) == ((5, 5), True) and statement_at(SOURCE, 8) == ((8, 8), True)
    assert statement_at(SOURCE, 10) == ((10, 10), False) and statement_at(SOURCE, 11) == ((11, 11), False)
    for edit in tool["edits"].edits_of(SOURCE):
        assert edit.early == (edit.lines[0] in (5, 8))


def test_a_line_knows_the_body_of_its_function(tool):
    nested = "LIMIT = 1\n\n\ndef outer(\n    a,\n):\n    def inner():\n        return 1\n\n    return a + inner()\n"
    assert [tool["edits"].function_at(nested, line) for line in (1, 8, 10)] == [(1, 10), (8, 8), (7, 10)]


def test_every_listed_change_fits_the_code_and_says_why(tool):
    for name in ("unsound.txt", "equivalent.txt"):
        for entry in tool["listed"].entries(TOOL / name):
            compile(tool["listed"].applied(entry, (ROOT / entry.path).read_text(encoding="utf-8")), entry.path, "exec")
            assert entry.old != entry.new and len(entry.reason) > 8 and entry.path.endswith(".py")


def test_a_listed_change_is_found_by_what_it_says(tool):
    listed = tool["listed"]
    entry = listed.Entry("a.py", 'if a < b and keep: ;; raise ValueError(f"a: {a + 1}")', "pass", "why")
    text = listed.applied(entry, SOURCE)
    assert "    pass\n    for row" in text and "raise" not in text
    with pytest.raises(ValueError, match="0 places"):
        listed.applied(listed.Entry("a.py", "LIMIT = 5", "LIMIT = 4", "why"), SOURCE)
    one = listed.Entry("a.py", "LIMIT = 3", "LIMIT = 4", "why")
    assert listed.key_of("a.py", SOURCE, listed.applied(one, SOURCE)) == one.key


def test_an_entry_that_is_not_complete_is_named(tool, tmp_path):
    (tmp_path / "list.txt").write_text("# comment\na.py\n- old\n= why\n+ new\n")
    with pytest.raises(ValueError, match=r"list\.txt:2: an entry is its file"):
        tool["listed"].entries(tmp_path / "list.txt")


def test_the_test_files_that_speak_of_a_module_are_asked_first(tool):
    tests = {
        "tests/unit/test_apples.py": "import math",
        "tests/unit/test_mountains.py": "mountains, which nobody else speaks of",
        "tests/unit/test_noise_laws.py": "",
        "tests/unit/test_radii.py": "from certflow.noise.radii.flow import Flow",
        "tests/unit/test_flow.py": "",
    }
    found = tool["near"].nearest("lib/certflow/noise/radii/flow.py", {"def found(): return mountains": 10}, tests)
    wanted = ["test_radii", "test_mountains", "test_flow", "test_noise_laws", "test_apples"]
    assert [Path(name).stem for name in found] == wanted
    assert (
        tool["near"].nearest("lib/other/part/sums.py", {}, {"tests/b.py": "", "tests/sums.py": ""})[0]
        == "tests/sums.py"
    )


def test_of_a_kind_those_are_asked_that_name_it_its_contract_and_the_schema(tool):
    files = (
        "contracts/test_models",
        "contracts/test_samplers",
        "unit/test_budgets",
        "unit/test_generated",
        "unit/test_a",
    )
    tests = {f"tests/{file}.py": 'spec_class("sampler", "iss")' if "budgets" in file else "" for file in files}
    found = [Path(name).stem for name in tool["near"].nearest("lib/certflow/sampling/kinds/iss.py", {}, tests)]
    assert found[:3] == ["test_samplers", "test_generated", "test_budgets"]


def test_tests_whose_lines_are_not_known_are_found_again_when_any_code_changes(tool, tmp_path):
    files = {"tests/test_a.py": "import certflow", "lib/certflow/a.py": "A = 1", "lib/certflow/b.py": "B = 1"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    asked = []

    def ask(**job):
        asked.append(job["traced"])
        return {"tests": {"t": {"seconds": 1.0, "lines": {"lib/certflow/a.py": [1]} if job["traced"] else {}}}}

    def lines(traced):
        return tool["maps"].Kept(tmp_path, tmp_path, list(files), traced).lines("tests/test_a.py", ask)["t"]["lines"]

    assert lines(False) is None and lines(False) is None and asked == [False]
    (tmp_path / "lib/certflow/b.py").write_text("B = 2")
    assert lines(False) is None and asked == [False, False]
    assert lines(True) == {"lib/certflow/a.py": [1]} and asked == [False, False, True], "a run is not a map"
    (tmp_path / "lib/certflow/b.py").write_text("B = 3")
    assert lines(False) and lines(True) and asked == [False, False, True], "a map is more than a run"


def test_the_rate_leaves_out_what_alters_nothing(tool):
    report = tool["report"]
    results = [{"package": "p", "outcome": name} for name in ("caught", "timeout", "survived", "not run", "equivalent")]
    (count,) = report.rates(results).values()
    assert report.rate(count) == 0.5 and "50.0%" in report.table(results)


def test_a_wrong_line_that_a_test_runs_is_noticed_and_the_working_files_stay_as_they_are(tmp_path):
    """The whole tool on a project of one module and one test."""
    project = tmp_path / "project"
    for name, text in {
        "lib/certflow/__init__.py": "",
        "lib/certflow/part/__init__.py": "",
        "lib/certflow/part/sums.py": "def add(a, b):\n    return a + b\n",
        "tests/test_sums.py": "from certflow.part.sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["lib"]\n',
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / "tools").mkdir()
    for path in TOOL.iterdir():
        if path.is_file():
            (project / "tools" / "mutants").mkdir(exist_ok=True)
            (project / "tools" / "mutants" / path.name).write_text(path.read_text())
    for name in ("equivalent.txt", "unsound.txt"):
        (project / "tools" / "mutants" / name).write_text("# none\n")
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    command = [sys.executable, str(project / "tools" / "mutants"), "part", "--tests", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-6:] == ["2", "2", "0", "0", "0", "100.0%"], done.stdout
    assert (project / "lib/certflow/part/sums.py").read_text() == "def add(a, b):\n    return a + b\n"
    again = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert again.stdout == done.stdout and "caught" not in again.stderr, "what is known is not tried again"
