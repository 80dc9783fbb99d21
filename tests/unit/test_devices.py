"""Jobs on one machine take free devices, each its own, and give them back by ending."""

import errno
import os
import subprocess
import sys

import pytest

from certflow.errors import ConfigError
from certflow.machine import claims as devices
from certflow.machine.claims import claim, device_problems, pool

TAKE = """
import sys
from pathlib import Path
from certflow.machine.claims import claim
print(*claim(sys.argv[2].split(","), int(sys.argv[3]), Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No device named or dealt out, and locks of this process released after each test."""
    for name in ("CERTFLOW_DEVICE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_held", [])
    yield
    for handle in devices._held:
        os.close(handle)


class Job:
    """Another process that takes devices and keeps them until `end`."""

    def __init__(self, root, folder, names, count=1):
        command = [sys.executable, "-c", TAKE, str(folder), names, str(count)]
        self.process = subprocess.Popen(command, cwd=root, stdin=-1, stdout=-1, stderr=-1, text=True)
        self.taken = self.process.stdout.readline().split()

    def end(self, kill=False):
        if kill:
            self.process.kill()
        return self.process.communicate()[1]


def test_jobs_at_once_get_different_devices_and_a_killed_one_gives_its_back(tmp_path, root):
    names = "cuda:0,cuda:1,cuda:2"
    jobs = [Job(root, tmp_path, names), Job(root, tmp_path, names, 2)]
    assert jobs[0].taken == ["cuda:0"] and jobs[1].taken == ["cuda:1", "cuda:2"]
    jobs[0].end(kill=True)
    assert claim(names.split(","), 1, tmp_path) == ["cuda:0"]
    jobs[1].end()


def test_more_jobs_than_devices_share_and_say_so(tmp_path, root, capsys):
    job = Job(root, tmp_path, "cuda:0,cuda:1", 1)
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path) == ["cuda:1"]
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path)[0] in ("cuda:0", "cuda:1")
    assert "some share one" in capsys.readouterr().err
    job.end()


@pytest.mark.parametrize("fails", ["fcntl.flock", "open_plain"])
def test_where_no_lock_can_be_had_devices_are_shared_and_it_is_said_so(tmp_path, monkeypatch, capsys, fails):
    """A disk that knows no locks, or is full."""

    def refused(*given):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(f"certflow.machine.claims.{fails}", refused)
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path)[0] in ("cuda:0", "cuda:1")
    assert f"no locks in {tmp_path}: some share one" in capsys.readouterr().err and devices._held == []


def test_a_job_takes_all_where_there_are_no_more_than_it_wants(tmp_path):
    assert claim(["cpu"], 1, tmp_path / "none") == ["cpu"]
    assert claim(["cuda:0", "cuda:1"], 4, tmp_path / "none") == ["cuda:0", "cuda:1"]
    assert not (tmp_path / "none").exists()


def test_a_device_is_known_by_what_it_is_not_by_its_number_among_the_visible(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path) == ["cuda:0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path) == ["cuda:0"]  # GPU 3: the one taken above is cuda:1 here
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert claim(["cuda:0", "cuda:1"], 1, tmp_path) == ["cuda:0"]


def test_two_processes_on_one_cpu_are_two_devices(tmp_path):
    assert claim(["cpu", "cpu", "cpu"], 2, tmp_path) == ["cpu", "cpu"]


def test_the_pool_is_what_the_user_names_else_all_gpus_else_the_cpu(monkeypatch):
    assert pool(0) == ["cpu"]
    assert pool(2) == ["cuda:0", "cuda:1"]
    monkeypatch.setenv("CERTFLOW_DEVICE", "cuda:1, cpu")
    assert pool(2) == ["cuda:1", "cpu"]


def test_another_user_who_takes_the_folder_s_name_costs_nothing(tmp_path, monkeypatch, root):
    taken = tmp_path / f"certflow-devices-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setattr(devices, "cache_folders", lambda: [tmp_path / "cache"])
    assert claim(["cuda:0", "cuda:1"], 1) == ["cuda:0"]
    assert list(taken.iterdir()) == []
    (folder,) = (tmp_path / "cache").iterdir()
    job = Job(root, folder, "cuda:0,cuda:1")
    assert job.taken == ["cuda:1"]
    job.end()


def test_without_a_safe_folder_devices_are_shared_and_it_is_said_so(tmp_path, monkeypatch, capsys):
    tmp_path.chmod(0o777)
    monkeypatch.setattr(devices, "_folders", lambda: [tmp_path])
    assert claim(["cuda:0", "cuda:1"], 1)[0] in ("cuda:0", "cuda:1")
    assert "set TMPDIR" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["foo", "cpu,", "cuda:x", "cuda:0,gpu1", "cuda:-1"])
def test_what_is_no_device_is_named(monkeypatch, named):
    monkeypatch.setenv("CERTFLOW_DEVICE", named)
    assert "is not a device; write cpu, cuda, or such as cuda:0,cuda:1" in device_problems()[0]
    with pytest.raises(ConfigError, match="CERTFLOW_DEVICE: .* is not a device"):
        pool(4)


@pytest.mark.parametrize(("named", "cuda"), [("cuda", 0), ("cuda:2", 2), ("cpu,cuda:5", 5)])
def test_a_device_that_is_not_there_is_named(monkeypatch, named, cuda):
    monkeypatch.setenv("CERTFLOW_DEVICE", named)
    assert device_problems() == []
    with pytest.raises(ConfigError, match=f"is not there; this machine has {cuda or 'no'} CUDA devices"):
        pool(cuda)
