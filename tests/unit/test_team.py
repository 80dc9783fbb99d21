"""Two users of one machine, for real: a team shares a results folder, and none of them can harm another. Needs root."""

import os
import signal
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from certflow.errors import ArtefactError, BusyError
from certflow.files.atomic import atomic
from certflow.files.lock import exclusive, lock_path
from certflow.files.parts import part_path
from certflow.machine import native as c_code
from certflow.machine.claims import claim
from certflow.noise.fast import native

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users")

ANN, BOB, TEAM = 50001, 50002, 50010


def become(user: int) -> None:
    """From now on, this process is that user's, of the team, and shares what it writes."""
    os.setgroups([TEAM])
    os.setgid(TEAM)
    os.setuid(user)
    os.umask(0o002)


def started(user: int, work: Callable[[], object]) -> int:
    """A process of the user that does the work."""
    process = os.fork()
    if process:
        return process
    try:
        become(user)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def done(user: int, work: Callable[[], object]) -> None:
    """The work, done by the user."""
    assert os.waitstatus_to_exitcode(os.waitpid(started(user, work), 0)[1]) == 0


@pytest.fixture
def place():
    """A new folder that everybody may enter, as pytest's own for root are not."""
    with tempfile.TemporaryDirectory(prefix="certflow-team-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def folder(place):
    """A results folder of the team, which Ann has made."""
    path = place / "results"
    path.mkdir()
    os.chown(path, ANN, TEAM)
    path.chmod(0o2775)
    return path


def write(path: Path, text: str) -> None:
    with exclusive(path, "sampling"), atomic(path) as part:
        part.write_text(text)


def test_members_replace_each_other_s_results_and_clear_up_after_each_other(folder):
    path = folder / "sample" / "counts"
    done(ANN, lambda: write(path, "Ann's"))

    def killed():
        with exclusive(path, "sampling"), atomic(path) as part:
            part.write_text("half of it")
            os.kill(os.getpid(), signal.SIGKILL)

    process = started(ANN, killed)
    os.waitpid(process, 0)
    left = path.with_name(f"counts.{socket.gethostname()}.{process}.part")
    assert left.exists() and lock_path(path).stat().st_uid == ANN and path.read_text() == "Ann's"
    done(BOB, lambda: write(path, "Bob's"))
    assert path.read_text() == "Bob's" and list(path.parent.iterdir()) == [path] and path.stat().st_uid == BOB


def test_members_exclude_each_other(folder):
    path = folder / "counts"
    reader, writer = os.pipe()

    def hold():
        with exclusive(path, "sampling"):
            os.write(writer, b"held")
            signal.pause()

    def second():
        with pytest.raises(BusyError, match=rf"sampling is under way by process {process}"):
            write(path, "Bob's")

    process = started(ANN, hold)
    try:
        assert os.read(reader, 4) == b"held"
        done(BOB, second)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(reader)
        os.close(writer)


def test_a_member_s_links_do_no_harm(folder, place):
    home = place / "home"
    home.mkdir()
    precious = home / "precious"
    precious.write_text("precious")
    for path in (home, precious):
        os.chown(path, ANN, ANN)

    def plant():
        lock_path(folder / "a").symlink_to(precious)
        (folder / "b").symlink_to(home)
        os.symlink(precious, folder / "waiting")

    def work():
        with pytest.raises(ArtefactError, match="a link"):
            write(folder / "a", "Ann's")
        os.rename(folder / "waiting", part_path(folder / "c"))
        write(folder / "c", "Ann's")
        assert (folder / "c").read_text() == "Ann's" and not (folder / "c").is_symlink()

    done(BOB, plant)
    done(ANN, work)
    assert precious.read_text() == "precious" and list(home.iterdir()) == [precious]


def test_a_folder_for_devices_that_another_user_has_made_is_not_used(place, monkeypatch):
    shared, home = place / "tmp", place / "ann"
    for path, mode, user in ((shared, 0o1777, 0), (home, 0o700, ANN)):
        path.mkdir()
        path.chmod(mode)
        os.chown(path, user, -1)
    taken = shared / f"certflow-devices-{ANN}"
    done(BOB, lambda: taken.mkdir(mode=0o777))
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    done(ANN, lambda: claim(["cuda:0", "cuda:1"], 1))
    assert list(taken.iterdir()) == []
    assert [path.name for path in (home / ".cache" / "certflow").rglob("*.lock")] == ["cuda-0.lock"]


def test_code_that_another_user_has_put_into_a_cache_is_not_run(place, monkeypatch):
    compiler = next(filter(None, map(c_code.shutil.which, c_code.COMPILERS)), None)
    if compiler is None:
        pytest.skip("no C compiler")
    shared, mark, library = place / "cache", place / "run", place / "evil.so"
    mark.mkdir(mode=0o777)
    mark.chmod(0o777)
    shared.mkdir()
    shared.chmod(0o1777)
    source = place / "evil.c"
    source.write_text(f'#include <stdio.h>\n__attribute__((constructor)) void f(void) {{ fopen("{mark}/x", "w"); }}\n')
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "own"))
    name = c_code._cached(native.source(), compiler).name
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared))
    monkeypatch.setenv("HOME", "/none")
    monkeypatch.delenv("CERTFLOW_NATIVE", raising=False)
    native._library.cache_clear()

    def plant():
        (shared / "certflow").mkdir()
        (shared / "certflow" / name).write_bytes(library.read_bytes())

    done(BOB, plant)
    done(ANN, lambda: native.available() or os._exit(2))
    native._library.cache_clear()
    assert list(mark.iterdir()) == []
