"""What another user can put under a name that is about to be written, and that nothing is written through it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from certflow.errors import ArtefactError
from certflow.files.atomic import atomic
from certflow.files.attempts import journal_path, note_attempt
from certflow.files.intact import file_digest
from certflow.files.lock import exclusive, lock_path
from certflow.files.opening import create_new, open_plain, require_no_planted_link, require_place
from certflow.files.parts import part_path
from certflow.machine.claims import claim
from certflow.workflow.job import attached

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
OTHER = 54321
WRITE = os.O_WRONLY | os.O_CREAT | os.O_APPEND


@pytest.fixture
def victim(tmp_path) -> Path:
    """A file that must keep its content."""
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "precious"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious" and list(folder.iterdir()) == [path]


def linked(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def linked_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("made through a link"))


def named_twice(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def piped(path: Path, victim: Path) -> None:
    os.mkfifo(path)


PLANTED = [linked, linked_to_nothing, named_twice, piped]
every_kind = pytest.mark.parametrize("plant", PLANTED)


@every_kind
@pytest.mark.parametrize("flags", [WRITE, os.O_RDWR | os.O_CREAT, os.O_RDONLY])
def test_only_a_plain_file_is_opened(tmp_path, victim, plant, flags):
    path = tmp_path / "x"
    plant(path, victim)
    with pytest.raises(ArtefactError, match="x: is .* remove it"):
        open_plain(path, flags)


def test_a_plain_file_is_opened_with_the_usual_rights(tmp_path):
    mask = os.umask(0o002)
    try:
        os.close(open_plain(tmp_path / "x", WRITE))
        create_new(tmp_path / "y")
    finally:
        os.umask(mask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "xy"] == [0o664, 0o664]
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none" / "none", WRITE)


@every_kind
def test_a_new_file_takes_the_place_of_what_was_planted(tmp_path, victim, plant):
    path = tmp_path / "x"
    plant(path, victim)
    create_new(path)
    assert path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1 and path.read_bytes() == b""


def test_a_file_that_comes_back_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "x").touch()
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: None)
    with pytest.raises(ArtefactError, match="comes back"):
        create_new(tmp_path / "x")


@every_kind
def test_an_artefact_is_not_written_through_what_lies_under_its_temporary_name(tmp_path, victim, plant):
    path = tmp_path / "counts.npz"
    plant(part_path(path), victim)
    with atomic(path) as part:
        part.write_text("counts")
    assert path.read_text() == "counts"


@pytest.mark.parametrize("name", ["", ".", "/", "folder", "pipe", "/dev/null", "/dev/stdout", "/proc/x/y", "x" * 300])
def test_no_artefact_takes_the_place_of_a_folder_or_a_device(pipe_and_folder, name):
    with pytest.raises(ArtefactError, match="cannot be written|no file can be put"):
        require_place(name)
    if not name.startswith("/"):  # never try those of the system, which root can replace
        with pytest.raises(ArtefactError), atomic(name):
            raise AssertionError("was begun")
    assert sorted(os.listdir()) == ["folder", "pipe"]


def test_memory_that_is_shared_is_a_place_for_files(tmp_path):
    for path in (tmp_path / "new" / "x", "/dev/shm/x"):
        require_place(path)


def test_an_artefact_takes_the_place_of_a_link(tmp_path, victim):
    path = tmp_path / "counts.npz"
    path.symlink_to(victim)
    with atomic(path) as part:
        part.write_text("counts")
    assert path.read_text() == "counts" and not path.is_symlink()


def test_a_temporary_file_that_was_exchanged_is_not_published(tmp_path, victim):
    with pytest.raises(ArtefactError, match="a link"), atomic(tmp_path / "x") as part:
        part.unlink()
        part.symlink_to(victim)
    assert not (tmp_path / "x").exists()


@every_kind
def test_a_lock_is_not_taken_through_what_lies_under_its_name(tmp_path, victim, plant):
    plant(lock_path(tmp_path), victim)
    with pytest.raises(ArtefactError, match=r"\.lock: is .* remove it"), exclusive(tmp_path, "training"):
        pass


@every_kind
def test_an_attempt_is_printed_where_its_journal_is_not_ours(tmp_path, victim, plant, capsys):
    plant(journal_path(tmp_path / "x.partial"), victim)
    note_attempt(tmp_path / "x.partial", "began")
    assert "x.partial: began" in (printed := capsys.readouterr().err) and "not noted" in printed


@every_kind
def test_a_job_does_not_log_through_what_lies_under_its_log_s_name(tmp_path, victim, plant, capsys):
    log = tmp_path / "job.log"
    plant(log, victim)
    with pytest.raises(SystemExit), attached(SimpleNamespace(log=log)):
        raise AssertionError("never entered")
    assert "error:" in capsys.readouterr().err


@every_kind
def test_devices_are_not_locked_through_what_lies_under_a_lock_s_name(tmp_path, victim, plant):
    folder = tmp_path / "devices"
    folder.mkdir(mode=0o700)
    plant(folder / "cuda-0.lock", victim)
    with pytest.raises(ArtefactError, match="cuda-0.lock"):
        claim(["cuda:0", "cuda:1"], 1, folder)


def team(tmp_path: Path, mode: int) -> Path:
    """A results folder with a folder of results in it."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "sample").mkdir()
    folder.chmod(mode)
    return folder


@root_only
@pytest.mark.parametrize(("mode", "refused"), [(0o775, True), (0o777, True), (0o1777, True), (0o755, False)])
def test_folders_are_not_entered_through_a_link_that_another_user_could_put_there(tmp_path, victim, mode, refused):
    folder = team(tmp_path, mode)
    link = folder / "train"
    link.symlink_to(victim.parent)
    os.lchown(link, OTHER, -1)
    if not refused:
        return require_no_planted_link(link / "x")
    for attempt in (atomic(link / "x"), exclusive(link / "x", "training")):
        with pytest.raises(ArtefactError, match="train: is a link of another user"), attempt:
            pass


@root_only
def test_links_of_the_owner_of_the_folder_are_followed(tmp_path):
    folder = team(tmp_path, 0o775)
    os.chown(folder, OTHER, -1)
    (folder / "train").symlink_to("sample")
    os.lchown(folder / "train", OTHER, -1)
    with atomic(folder / "train" / "x") as part:
        part.write_text("x")
    assert (folder / "sample" / "x").read_text() == "x"


def test_own_links_are_followed(tmp_path):
    folder = team(tmp_path, 0o777)
    (folder / "train").symlink_to("sample")
    with exclusive(folder / "train" / "x", "training"), atomic(folder / "train" / "x") as part:
        part.write_text("x")
    assert (folder / "sample" / "x").read_text() == "x"


def test_a_device_has_no_digest():
    """One that never ends would be read for ever."""
    with pytest.raises(ValueError, match="it is not a regular file"):
        file_digest(os.devnull)
