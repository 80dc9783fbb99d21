"""A folder counts as this user's alone only where nobody else can write to it, or put another one in its place."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from certflow.files import private
from certflow.files.private import (
    cache_folders,
    first_private,
    is_private,
    looked_up,
    make_private,
)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
OTHER = 54321


def made(path: Path, mode: int = 0o700) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o755, True), (0o775, False), (0o757, False)])
def test_nobody_else_may_write_to_the_folder_itself(tmp_path, mode, private):
    assert is_private(made(tmp_path / "own", mode)) == private


@pytest.mark.parametrize(("mode", "private"), [(0o755, True), (0o1777, True), (0o777, False), (0o770, False)])
def test_nobody_else_may_rename_it_in_a_folder_above(tmp_path, mode, private):
    own = made(made(tmp_path / "shared", mode) / "own")
    assert is_private(own) == private
    deep = made(own / "deep")
    assert is_private(deep) == private


def test_files_and_missing_folders_are_not_private(tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    assert not is_private(tmp_path / "file") and not is_private(tmp_path / "missing")


def test_a_folder_is_judged_by_what_a_link_on_the_way_leads_to_and_by_where_the_link_lies(tmp_path):
    own = made(made(tmp_path / "safe") / "own")
    (tmp_path / "link").symlink_to("safe")
    assert is_private(tmp_path / "link" / "own") and is_private(tmp_path / "safe" / ".." / "link" / "own")
    (made(tmp_path / "open", 0o777) / "link").symlink_to(own.parent)
    assert not is_private(tmp_path / "open" / "link" / "own")
    (tmp_path / "entry").symlink_to(own)
    assert not is_private(tmp_path / "entry" / "missing")


def test_a_circle_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not is_private(tmp_path / "a" / "x")
    with pytest.raises(OSError, match="symbolic links"):
        list(looked_up(tmp_path / "a" / "x"))


def test_the_way_is_the_one_that_the_system_goes(tmp_path):
    (made(tmp_path / "one") / "up").symlink_to("../two")
    made(made(tmp_path / "two") / "three")
    entries = [path for path, _ in looked_up(tmp_path / "one" / "up" / "three" / ".." / "three")]
    assert entries[-3:] == [tmp_path / "two", tmp_path / "two" / "three", tmp_path / "two" / "three"]
    assert tmp_path / "one" / "up" in entries and entries[0] == Path("/")


def test_missing_folders_are_made_for_this_user_alone_whatever_the_umask(tmp_path):
    mask = os.umask(0)
    try:
        folder = make_private(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(mask)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (folder, folder.parent, folder.parent.parent))


def test_a_folder_that_others_can_write_to_is_passed_over(tmp_path):
    taken, free = made(tmp_path / "taken", 0o777), tmp_path / "free"
    with pytest.raises(PermissionError, match="another user"):
        make_private(taken)
    assert first_private([taken, free]) == free
    assert first_private([taken]) is None and first_private([]) is None


@root_only
def test_a_folder_of_another_user_is_passed_over(tmp_path):
    taken = made(tmp_path / "taken")
    os.chown(taken, OTHER, -1)
    assert not is_private(taken)
    inside = made(taken / "inside")
    assert not is_private(inside)


@root_only
def test_a_link_of_another_user_is_passed_over(tmp_path):
    own = made(made(tmp_path / "real") / "own")
    link = made(tmp_path / "tmp", 0o1777) / "link"
    link.symlink_to(own.parent)
    assert is_private(link / "own")
    os.lchown(link, OTHER, -1)
    assert not is_private(link / "own")


def test_a_relative_cache_folder_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folders() == [tmp_path / ".cache" / "certflow"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert cache_folders() == [tmp_path / "other" / "certflow", tmp_path / ".cache" / "certflow"]
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folders() == []


def test_without_a_home_folder_there_is_no_cache_in_it(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(private.Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folders() == []


def test_the_scratch_folder_goes_with_the_process(root):
    code = "from certflow.files.private import scratch; print(scratch()); assert scratch() is scratch()"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout and not Path(found.stdout.strip()).exists()
