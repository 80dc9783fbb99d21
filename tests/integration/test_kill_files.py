"""Steps killed at every change of their files end, done once more, with the files of a step that nobody killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_moment_leaves_nothing_that_the_next_try_does_not_mend(tmp_path):
    """Equal bytes, nothing missing and nothing left over (`kills.py`)."""
    command = [sys.executable, str(HERE / "kills.py"), str(tmp_path), str(HERE.parent / "unit")]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stdout + result.stderr
    kills = [line.rpartition(": ") for line in result.stdout.splitlines() if ": " in line]
    tried = {step: int(number) for step, _, number in kills if number.isdigit()}
    assert set(tried) >= {"prepare", "train", "sample until decided", "certflow certify", "certflow export"}
    assert min(tried.values()) >= 3, "each makes a file, fills it and gives it its name"
