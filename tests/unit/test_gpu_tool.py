"""`tools/gpu.sh` wastes no minute: each step has its time, what was found is kept, a second run goes on. Tried on a CPU."""

import json
import sys
import time
from pathlib import Path

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.workflow.targets import concerned
from tools.gpu import __main__ as tool
from tools.gpu.page import page
from tools.gpu.running import kept, run_all
from tools.gpu.steps import ATTACKS, MNIST, ROOT, Step, steps

WRITES = "import json, sys; json.dump({'machine': {'device': 'x'}, 'at': open('log', 'a').write('+')}, open(sys.argv[1], 'w'))"


def python(name, code, *arguments, seconds=30.0, **environment):
    return Step(name, (sys.executable, "-c", code, *arguments), seconds, environment)


@pytest.fixture(autouse=True)
def at(tmp_path, monkeypatch):
    """Steps run in a folder of the test."""
    monkeypatch.setattr("tools.gpu.running.ROOT", tmp_path)
    monkeypatch.setattr("tools.gpu.running.MARGIN", 3.0)


def test_a_step_that_fails_or_takes_too_long_costs_the_others_nothing(tmp_path):
    child = "import subprocess, sys; print('began', flush=True); subprocess.run(['sleep', '60'])"
    todo = [
        python("broken", "import sys; print('no driver'); sys.exit(3)"),
        python("long", child, seconds=1.5),
        python("good", WRITES, "{json}"),
    ]
    start = time.monotonic()
    records = run_all(todo, tmp_path / "out", 60, "abc")
    assert time.monotonic() - start < 30
    assert [record["status"] for record in records.values()] == ["failed", "out of time", "done"]
    assert records["broken"]["last_line"] == "no driver" and records["long"]["last_line"] == "began"
    assert records["good"]["numbers"] == {"machine": {"device": "x"}, "at": 1}
    assert kept(tmp_path / "out/gpu.json") == json.loads(json.dumps(records))


def test_a_second_run_does_what_is_left(tmp_path):
    todo = [
        python("first", WRITES, "{json}"),
        python("second", "import sys; sys.exit(not __import__('os').path.exists('go'))"),
    ]
    for status in ("failed", "done", "done"):
        records = run_all(todo, tmp_path, 60, "abc")
        assert [record["status"] for record in records.values()] == ["done", status]
        (tmp_path / "go").touch()
    assert (tmp_path / "log").read_text() == "+"
    run_all(todo, tmp_path, 60, "another commit")
    assert (tmp_path / "log").read_text() == "++"


def test_nothing_is_begun_once_the_time_is_up(tmp_path):
    assert run_all([python("late", "1")], tmp_path, 2.0, "abc") == {}
    assert (
        run_all([python("cut", "import time; time.sleep(60)")], tmp_path, 7.5, "abc")["cut"]["status"] == "out of time"
    )


def test_the_environment_of_a_step_is_its_own(tmp_path):
    code = "import os; print(os.environ.get('CERTFLOW_GRAPHS'))"
    todo = [python("without", code, CERTFLOW_GRAPHS="0"), python("with", code)]
    assert [record["last_line"] for record in run_all(todo, tmp_path, 60, "abc").values()] == ["0", "None"]


def test_the_steps_ask_for_what_there_is():
    """Files, cases and targets; the most valuable first, and within the time that a call may take."""
    todo = steps("cuda")
    assert (
        todo[0].name == "test-gpu" and "tests/unit/test_gpu.py" in todo[0].command and todo[-1].name == "mnist-attacks"
    )
    assert len({step.name for step in todo}) == len(todo) and all(step.seconds <= tool.BUDGET for step in todo)
    assert sum(step.seconds for step in todo[:6]) < tool.BUDGET
    for step in todo:
        for part in step.command[1:]:
            assert not part.endswith(".py") or (ROOT / part).is_file()
    study = load(merged([ROOT / "config.yaml"]))
    assert concerned(study, [*MNIST, *ATTACKS]) == ["mnist"]
    runs = {f"{run.certificate}/{run.sampler}" for run in study.runs("mnist")}
    assert {f"{Path(path).stem}/{Path(path).parent.name}" for path in (*MNIST, *ATTACKS)} <= runs


def test_it_runs_at_toy_size_on_a_cpu(tmp_path, monkeypatch, capsys):
    """A real benchmark, its numbers in one file, and the page; asked for without a GPU, it says what to do."""
    monkeypatch.setattr("tools.gpu.running.ROOT", ROOT)
    monkeypatch.setattr(tool.signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONPATH", "lib")
    assert tool.main(["sampling-lenet-without", "--device", "cpu", "--folder", str(tmp_path)]) == 0
    (record,) = json.loads((tmp_path / "gpu.json").read_text()).values()
    rows = record["numbers"]["rows"]  # a second one where the convolutions can be compiled
    assert rows and all(row["network"] == "lenet" and row["draws_per_second"] > 0 for row in rows)
    text = (tmp_path / "gpu.md").read_text()
    assert "Toy sizes" in text and "kernel by kernel" in text and "| sampling-lenet-without-graphs | done |" in text
    monkeypatch.setattr(tool, "_has_gpu", lambda: False)
    assert tool.main(["mnist", "--folder", str(tmp_path)]) == 1 and "DEVICE=cpu" in capsys.readouterr().err


def test_the_page_shows_every_kind_of_number():
    cost = {"images": 16, "sigma": 0.5, "draws": 100_000, "mean_draws": 6528.0, "seconds": 2.0, "field_seconds": 80.0}
    cost |= {"network": "digits", "precision": "float32", "ratio": 40.0, "lost": 0.02}
    step = {"images_per_second": 300.0, "ratio_min": 2.0, "ratio_median": 2.0}
    numbers = {
        "table-cost": {"rows": [cost], "machine": {"device": "H100"}},
        "training-methods": {"cases": {}, "methods": {"macer": {"field_images_per_second": 150.0, "bfloat16": step}}},
        "test-gpu": None,
    }
    shown = {"status": "done", "seconds": 3.0, "commit": "abc", "last_line": "12 passed | 1 skipped"}
    text = page({name: {**shown, "numbers": found} for name, found in numbers.items()}, "cuda")
    assert "device H100; commit `abc`." in text and "40 times less; at most 2.0 points" in text
    assert (
        "| macer | bfloat16 | 150 | 300 | 2.00 |" in text and "| test-gpu | done | 3 | 12 passed / 1 skipped |" in text
    )
