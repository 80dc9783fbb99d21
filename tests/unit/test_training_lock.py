"""One writer at a time, named to whoever comes second; a killed holder leaves nothing behind."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from certflow.errors import ArtefactError, BusyError
from certflow.files import lock
from certflow.files.lock import exclusive, lock_path

HOLD = """
import sys, time
from certflow.files.lock import exclusive
with exclusive(sys.argv[1], "training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_holder_is_told_who_the_first_is(tmp_path):
    with exclusive(tmp_path, "training"):
        with pytest.raises(BusyError, match=rf"training is under way by process {os.getpid()} on .* since 2"):
            with exclusive(tmp_path, "sampling"):
                pass


def test_what_is_held_is_named_be_it_a_folder_or_a_file(tmp_path):
    for held in (tmp_path, tmp_path / "table.tsv"):
        with (
            exclusive(held, "certifying"),
            pytest.raises(BusyError, match=f"^{re.escape(str(held))}: certifying is under"),
        ):
            with exclusive(held, "certifying"):
                pass


def test_lock_is_free_and_gone_after_the_block(tmp_path):
    for _ in range(2):
        with exclusive(tmp_path / "counts.npz", "sampling") as locked:
            assert locked and lock_path(tmp_path / "counts.npz").exists()
    assert list(tmp_path.iterdir()) == []


def test_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError):
        with exclusive(tmp_path, "training"):
            raise KeyError
    with exclusive(tmp_path, "training"):
        pass


def test_files_in_one_folder_do_not_exclude_each_other(tmp_path):
    with exclusive(tmp_path / "a", "sampling"), exclusive(tmp_path / "b", "sampling"):
        pass


def test_where_there_are_no_locks_the_block_runs_and_is_told(tmp_path, no_locks, capsys):
    with exclusive(tmp_path, "training") as first, exclusive(tmp_path, "training") as second:
        assert not first and not second
    assert "this file system has no locks; make sure that nothing else is training here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_killed_holder_leaves_the_lock_free(tmp_path, root):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {process.pid}"):
            with exclusive(tmp_path, "training"):
                pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with exclusive(tmp_path, "training"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="file"):
        with exclusive(tmp_path / "file" / "x", "training"):
            pass


@pytest.fixture
def colleague_s(tmp_path, monkeypatch):
    """The lock file of another member of the team, which this user may read but not write to."""
    path = lock_path(tmp_path / "counts.npz")
    path.write_text(json.dumps({"host": "node7", "pid": 7, "since": "2026", "what": "sampling"}))
    status, opened = path.stat(), lock.open_plain

    def open_plain(path, flags, mode=0o666):
        handle = opened(path, flags, mode)
        if flags & os.O_RDWR and os.path.samestat(os.fstat(handle), status):
            os.close(handle)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return handle

    monkeypatch.setattr(lock, "open_plain", open_plain)
    return path


def test_the_lock_that_a_colleague_s_killed_job_has_left_is_taken_over(colleague_s, tmp_path):
    before = colleague_s.stat()
    with exclusive(tmp_path / "counts.npz", "sampling") as locked:
        assert locked and not os.path.samestat(colleague_s.stat(), before)
    assert list(tmp_path.iterdir()) == []


def test_a_colleague_at_work_is_named(colleague_s, tmp_path):
    handle = os.open(colleague_s, os.O_RDONLY)
    try:
        lock.fcntl.flock(handle, lock.fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="sampling is under way by process 7 on node7"):
            with exclusive(tmp_path / "counts.npz", "sampling"):
                pass
    finally:
        os.close(handle)
    assert colleague_s.exists()


def test_a_colleague_s_lock_that_this_user_may_not_even_try_is_no_free_one(colleague_s, tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with pytest.raises(BusyError, match="under way by process 7 on node7 .* if it has ended"):
        with exclusive(tmp_path / "counts.npz", "sampling"):
            pass
    assert colleague_s.exists()


def test_a_colleague_s_lock_in_a_folder_that_keeps_it_is_named(colleague_s, tmp_path, monkeypatch):
    def unlink(path, missing_ok=False):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(lock.Path, "unlink", unlink)
    with pytest.raises(ArtefactError, match="left by a job of user"), exclusive(tmp_path / "counts.npz", "sampling"):
        pass


@pytest.mark.parametrize("record", ["[" * 4096, "7", "[]", '{"what": 1}', "\xff"])
def test_a_holder_that_cannot_be_read_is_still_one(tmp_path, record):
    with exclusive(tmp_path, "training"):
        lock_path(tmp_path).write_text(record)
        with pytest.raises(BusyError, match="another process is at work"), exclusive(tmp_path, "sampling"):
            pass


def test_the_name_of_a_holder_cannot_command_a_terminal(tmp_path):
    with exclusive(tmp_path, "training"):
        record = {"host": "\x1b[2Jnode", "pid": 7, "since": "now\r", "what": "training\n"}
        lock_path(tmp_path).write_text(json.dumps(record))
        with pytest.raises(BusyError) as error, exclusive(tmp_path, "sampling"):
            pass
    assert str(error.value).isprintable() and "[2Jnode" in str(error.value)
