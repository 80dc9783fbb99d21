"""One writer at a time, named to whoever comes second; a killed holder leaves nothing behind."""

import os
import signal
import subprocess
import sys

import pytest

from lib.errors import ArtefactError, BusyError
from lib.lock import exclusive, lock_path

HOLD = """
import sys, time
from lib.lock import exclusive
with exclusive(sys.argv[1], "training"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_holder_is_told_who_the_first_is(tmp_path):
    with exclusive(tmp_path, "training"):
        with pytest.raises(BusyError, match=rf"training is under way by process {os.getpid()} on .* since 2"):
            with exclusive(tmp_path, "sampling"):
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
