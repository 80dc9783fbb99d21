"""Compiled code is kept where this user alone, and a CPU like this one, finds it."""

import os
from pathlib import Path

import pytest

from certflow.errors import ArtefactError
from certflow.files.private import is_private, make_private
from certflow.machine import compilers
from certflow.machine.compilers import keep_compilers_private, this_cpu


@pytest.fixture(autouse=True)
def no_folders(monkeypatch):
    for variable in compilers.FOLDERS:
        monkeypatch.setenv(variable, "")


def test_compilers_keep_their_code_in_private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable, name, mode in (("TRITON_CACHE_DIR", "own", 0o700), ("TORCHINDUCTOR_CACHE_DIR", "open", 0o777)):
        monkeypatch.setenv(variable, str(tmp_path / name))
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    for _ in range(2):  # the second time as in a process that this one starts
        keep_compilers_private()
        assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "own" / this_cpu())
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache/certflow/inductor" / this_cpu())
        assert os.environ["PYTORCH_KERNEL_CACHE_PATH"] == str(tmp_path / "cache/certflow/kernels" / this_cpu())
        assert all(is_private(Path(os.environ[variable])) for variable in compilers.FOLDERS)


def test_compilers_work_in_a_temporary_folder_where_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(compilers, "cache_folders", list)
    monkeypatch.setattr(compilers, "scratch", lambda: tmp_path)
    keep_compilers_private()
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton" / this_cpu())
    tmp_path.chmod(0o777)
    for variable in compilers.FOLDERS:
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(compilers, "scratch", lambda: make_private(tmp_path))
    with pytest.raises(ArtefactError, match="set XDG_CACHE_HOME"):
        keep_compilers_private()


def test_each_kind_of_cpu_and_what_torch_is_told_to_use_of_it_has_code_of_its_own(monkeypatch):
    found = {this_cpu()}
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "some other")
    found.add(this_cpu())
    for flags in ({"avx2"}, {"avx2", "avx512f"}):
        monkeypatch.setattr(compilers, "cpu_flags", lambda flags=flags: frozenset(flags))
        found.add(this_cpu())
    assert len(found) == 4
