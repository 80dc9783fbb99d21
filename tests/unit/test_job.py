"""What a job's script gets: specs with their places, corrupted copies, and a log that ends with the error."""

import os
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.config.parse import sections
from certflow.errors import ArtefactError, ConfigError
from certflow.workflow.clock import require_past
from certflow.workflow.job import corrupted_of, dataset_of, denoiser_of, devices_of, method_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = sections(merged([ROOT / "config.yaml", ROOT / "configs" / "denoised.yaml"]), [])
STUDY = load(CONFIG)


def job(spec, config=CONFIG, files=None, **wildcards):
    params = SimpleNamespace(spec=spec)
    return SimpleNamespace(params=params, config=config, input=files, wildcards=SimpleNamespace(**wildcards))


def test_a_dataset_is_what_the_params_say_at_the_place_that_the_configuration_says():
    config = {**CONFIG, "datasets": {"mnist": {"kind": "mnist", "root": "/images", "normalisation": "dsrs"}}}
    for spec in (STUDY.dataset_spec("mnist"), {"dataset": STUDY.dataset_spec("mnist")}):
        found = dataset_of(job(spec, config, dataset="mnist"))
        assert found.root == "/images" and found.canonical() == STUDY.dataset_spec("mnist")
    assert dataset_of(job(spec, config, experiment="mnist"), "mnist") == found


def test_a_methods_file_is_no_part_of_its_identity():
    config = {**CONFIG, "methods": {"gaussian": {"kind": "gaussian", "start_from": "a.pth", "epochs": 1}}}
    spec = STUDY.model_spec("mnist", "lenet", "gaussian", "gauss-0.50", 0)
    found = method_of(job(spec, config, method="gaussian"))
    assert found.start_from == "a.pth" and found.canonical() == spec["method"]
    old = {**spec, "method": {**spec["method"], "revision": 0}}
    with pytest.raises(ConfigError, match="written by revision 0"):
        method_of(job(old, config, method="gaussian"))


def test_a_denoiser_is_among_the_parts_of_its_model():
    spec = STUDY.model_spec("digits", "small", "digits-drunet", "gauss-0.50", 0)
    assert denoiser_of(job(spec), "drunet-digits").canonical() == spec["parts"]["denoiser"]
    assert denoiser_of(job(spec), None) is None


def test_fewer_devices_than_the_job_asks_for_are_said(monkeypatch, capsys):
    """Weights depend on how many there were."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("CERTFLOW_DEVICE", "cpu")
    for gpu, said in ((1, False), (4, True)):
        found = devices_of(SimpleNamespace(threads=torch.get_num_threads(), resources=SimpleNamespace(gpu=gpu)))
        assert [device.type for device in found] == ["cpu"]
        assert ("asked for 4 devices, there are 1\n" in capsys.readouterr().err) == said


def test_corrupted_copies_are_those_in_the_name():
    assert corrupted_of(job({}, images="every20")) is None
    files = SimpleNamespace(corrupted="results/data/mnist/computed/contrast.json")
    found = corrupted_of(job({}, files=files, images="every20@computed@contrast"))
    assert (found.name, found.spec.kind) == ("contrast", "computed")


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        ("DataError('x.npz: is cut')", "error: x.npz: is cut\n"),
        ("KeyError(1)", "KeyError: 1\n"),
        (
            "MemoryError('no 7 GiB')",
            "error: memory did not suffice (no 7 GiB); free some, or take a machine or a GPU with more, and run again\n",
        ),
    ],
)
def test_the_log_ends_with_the_error_and_the_job_fails(tmp_path, error, ending):
    result = run_job(tmp_path / "a" / "job.log", f"raise {error}")
    log = (tmp_path / "a" / "job.log").read_text()
    assert result.returncode == 1 and log.endswith(ending)
    assert ("Traceback" in log) == ("DataError" not in error)


def run_job(log: Path, body: str, before: str = "", inputs: tuple = ()) -> subprocess.CompletedProcess:
    """A job with that log; `before` is done before it starts."""
    code = (
        "import os, resource, sys\n"
        "from types import SimpleNamespace\n"
        "from certflow.errors import DataError\n"
        "from certflow.machine.progress import progress\n"
        "from certflow.workflow.job import attached\n"
        f"{before}\n"
        f"with attached(SimpleNamespace(log={str(log)!r}, input={list(map(str, inputs))!r})):\n"
        f"    {body}\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"  # no file takes a byte


def test_on_a_full_disk_the_error_is_told_where_it_can_be_read(tmp_path):
    result = run_job(tmp_path / "job.log", "print('drawn: ünï'); raise DataError('x.npz: the disk is full')", FULL)
    assert result.returncode == 1 and result.stdout == "drawn: ünï\n"
    assert result.stderr.endswith("error: x.npz: the disk is full\n") and "Traceback" not in result.stderr
    assert (tmp_path / "job.log").read_bytes() == b""


def test_no_job_fails_because_its_progress_cannot_be_written(tmp_path):
    work = "bar = progress(3, 'img', 'train'); [bar.update() for _ in range(3)]; bar.close()"
    for before in (FULL, f"{FULL}; os.close(1); os.close(2); os.open('/dev/full', 1); os.dup(1)"):
        assert run_job(tmp_path / "job.log", work, before).returncode == 0


def test_a_log_that_is_taken_in_part_is_lost_nowhere(tmp_path):
    result = run_job(tmp_path / "job.log", "print('x' * 5000)", FULL.replace("(0, 0)", "(3000, 3000)"))
    written = (tmp_path / "job.log").read_text()
    assert result.returncode == 0 and len(written) == 3000
    assert (written + result.stdout).endswith("x" * 5000 + "\n")


@pytest.mark.parametrize(
    ("name", "message"), [("folder", "Is a directory"), ("file/job.log", "Not a directory|exists")]
)
def test_a_log_that_cannot_be_opened_is_named(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    result = run_job(tmp_path / name, "raise AssertionError('was begun')")
    assert result.returncode == 1 and "was begun" not in result.stderr
    assert re.search(f"error: {tmp_path / name}: the log could not be opened .*({message})", result.stderr)


def test_what_is_from_the_future_is_refused_before_the_work(tmp_path):
    past, future = tmp_path / "past.npz", tmp_path / "future.npz"
    for path in (past, future):
        path.touch()
    os.utime(future, (0, path.stat().st_mtime + 3600))
    result = run_job(tmp_path / "job.log", "raise AssertionError('was begun')", inputs=(past, future))
    last = (tmp_path / "job.log").read_text().splitlines()[-1]
    assert result.returncode == 1 and last.startswith(f"error: {future}: was last changed at ") and "touch" in last


def test_now_is_what_the_file_system_says_and_clocks_may_differ_a_little(tmp_path, monkeypatch):
    log, path, link = tmp_path / "log", tmp_path / "x", tmp_path / "link"
    log.touch()
    path.touch()
    link.symlink_to(path)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's own clock is not asked
    for ahead, refused in ((-100, False), (30, False), (90, True)):
        os.utime(path, (0, log.stat().st_mtime + ahead))
        for name in (path, link):
            with pytest.raises(ArtefactError, match=f"{name}: ") if refused else nullcontext():
                require_past([tmp_path / "gone", name], log)
