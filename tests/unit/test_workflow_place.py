"""Folders and interpreters that Snakemake cannot run jobs with are named before it tries."""

import subprocess
import sys

import pytest

from certflow.workflow.place import unusable

PROGRAM = """#!/bin/sh
exec {python} -c "import sys; sys.executable = sys.argv.pop(1); from snakemake.cli import main; main()" "$0" "$@"
"""
"""Snakemake, run by a Python that says that it lies where this file does."""


@pytest.mark.parametrize("folder", ["/home/me/certflow", "/home/my work/100 %", "/home/it's"])
@pytest.mark.parametrize("python", ["/opt/python-3.12/bin/python3.12", "/home/jürgen/環境/a+b@c~1/python"])
def test_usual_places_are_usable(folder, python):
    assert unusable(folder, python) == []


def test_what_is_not_usable_is_named():
    (line,) = unusable("/a/{b}", "/usr/bin/python3")
    assert line.startswith("/a/{b}: ") and "rename it" in line
    for python in ("/my work/.venv/bin/python", "/it's/python", "/a(b)/python", "/a&b/python", "/$HOME/python"):
        (line,) = unusable("/a/b", python)
        assert line.startswith(f"{python}: ") and "make env" in line


def refused(command, folder) -> str:
    """What a dry run says that ends with an error, having made nothing."""
    options = ["-n", "--directory", folder, "--cores", "1", "results/tables/digits.tex"]
    found = subprocess.run([*map(str, [*command, *options])], capture_output=True, text=True, cwd=folder)
    assert found.returncode == 1 and not (folder / "results").exists()
    return found.stdout + found.stderr


def test_code_below_braces_is_refused_before_anything_is_done(root, tmp_path):
    code = tmp_path / "we{ird}"
    code.symlink_to(root, target_is_directory=True)
    said = refused([sys.executable, "-m", "snakemake", "-s", code / "Snakefile"], tmp_path)
    assert f"{code}: Snakemake cannot run jobs" in said


def test_a_python_below_a_space_is_refused_before_anything_is_done(root, tmp_path):
    python = tmp_path / "my work"
    python.write_text(PROGRAM.format(python=sys.executable))
    python.chmod(0o755)
    assert f"{python}: Snakemake cannot start jobs" in refused([python, "-s", root / "Snakefile"], tmp_path)
