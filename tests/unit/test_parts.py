"""What a kill in the middle of writing leaves behind goes with the next write, and nothing that is still being written."""

import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from certflow.files.artefact import read_arrays, write_arrays
from certflow.files.atomic import atomic
from certflow.files.lock import exclusive
from certflow.files.parts import new_part_folder, part_path, remove_abandoned_parts, remove_parts
from certflow.files.provenance import Provenance

WRITE = """
import sys, time
from certflow.files.atomic import atomic
with atomic(sys.argv[1]) as part:
    part.write_bytes(b"half a fi")
    print(part.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path, root):
    """A process in the middle of writing `counts.npz`, and the name of its unfinished file."""
    command = [sys.executable, "-c", WRITE, tmp_path / "counts.npz"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def write(path) -> None:
    write_arrays(path, {"counts": np.eye(3, dtype=int)}, Provenance(format="predictions", spec={}))


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_write_is_cleared_away_by_the_next_one(tmp_path, writer):
    process, part = writer
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == {part}
    write(tmp_path / "counts.npz")
    assert names(tmp_path) == {"counts.npz"}
    assert read_arrays(tmp_path / "counts.npz")[0]["counts"].tolist() == np.eye(3).tolist()


def test_a_write_under_way_is_left_alone(tmp_path, writer):
    process, part = writer
    write(tmp_path / "counts.npz")
    assert names(tmp_path) == {"counts.npz", part}


def test_files_of_other_hosts_and_other_destinations_stay(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = f"{socket.gethostname()}.{process.pid}.part"
    others = [
        f"counts.npz.another-host.{process.pid}.part",  # alive, for all that this host knows
        f"counts.npz.{socket.gethostname()}.{os.getppid()}.part",
        f"counts.npz.partial.{here}",
        f"other.npz.{here}",
        f"counts.npz.{process.pid}.part",
        "counts.npz.part",
    ]
    for name in [*others, f"counts.npz.{here}"]:
        (tmp_path / name).write_bytes(b"half a fi")
    write(tmp_path / "counts.npz")
    assert names(tmp_path) == {"counts.npz", *others}


def test_folders_of_killed_processes_go_with_the_next_folder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    ended = f"tmp1.{socket.gethostname()}.{process.pid}.part"
    others = [f"tmp2.another-host.{process.pid}.part", f"tmp3.{socket.gethostname()}.{os.getppid()}.part", "0123abcd"]
    for name in (ended, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.npy").write_bytes(b"half a fi")
    one, other = new_part_folder(tmp_path), new_part_folder(tmp_path)
    assert names(tmp_path) == {*others, one.name, other.name} and one != other
    assert one.name.endswith(f".{socket.gethostname()}.{os.getpid()}.part")


def test_names_mean_themselves(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = tmp_path / "a[0-9]+.npz"
    ours, other = (tmp_path / f"{stem}.npz.{socket.gethostname()}.{process.pid}.part" for stem in ("a[0-9]+", "a1"))
    for part in (ours, other):
        part.write_bytes(b"")
    remove_abandoned_parts(path)
    assert names(tmp_path) == {other.name}
    remove_abandoned_parts(tmp_path / "no such folder" / "a")


def test_who_holds_the_lock_removes_everybody_s(tmp_path):
    path = tmp_path / "counts.npz"
    for name in ("counts.npz.another-host.7.part", "counts.npz.7.part", "counts.npz.partial.h.7.part", "counts.npz"):
        (tmp_path / name).write_bytes(b"half a fi")
    with exclusive(path, "sampling") as locked:
        remove_parts(path, locked=locked)
    assert names(tmp_path) == {"counts.npz"}


def test_without_a_lock_live_writers_keep_their_files(tmp_path, writer):
    process, part = writer
    others = {part, "counts.npz.another-host.7.part"}
    (tmp_path / "counts.npz.another-host.7.part").write_bytes(b"half a fi")
    remove_parts(tmp_path / "counts.npz", locked=False)
    assert names(tmp_path) == others
    process.send_signal(signal.SIGKILL)
    process.wait()
    remove_parts(tmp_path / "counts.npz", locked=False)
    assert names(tmp_path) == others - {part}


def test_an_unfinished_file_lies_beside_its_destination_and_goes_with_an_error(tmp_path):
    with pytest.raises(KeyError), atomic(tmp_path / "a.tsv") as part:
        assert part == part_path(tmp_path / "a.tsv") and part.parent == tmp_path
        part.write_text("half")
        raise KeyError
    assert names(tmp_path) == set()
