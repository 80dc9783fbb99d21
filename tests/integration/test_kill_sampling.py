"""A sampling job killed at twenty random moments and resumed each time ends with the counts of an undisturbed run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20

DRIVER = """
import os, random, signal, sys, time
sys.path[:0] = [{root!r}, {unit!r}, {here!r}]
from functools import partial
from pathlib import Path
import numpy as np
import sklearn.datasets, torch
torch.set_num_threads(1)
import test_sampling_stage as t
from kills import child
from certflow.files.artefact import read_arrays
from certflow.sampling import engine, stage
engine.CHUNK_ROWS, engine.CHUNK_SECONDS = 500, 0.0
stage.Journal = partial(stage.Journal, seconds=0.0)
DRAWS, home, kills, moments = 4000, Path(sys.argv[1]), int(sys.argv[2]), random.Random(20)
out = home / "killed.npz"
partial_counts = Path(f"{{out}}.partial")


def ended(pid, options=0):
    found, status = os.waitpid(pid, options)
    assert not found or os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a job failed"
    return found


def rows():
    return int(read_arrays(partial_counts)[0]["rows"]) if partial_counts.exists() else 0


def prepare():
    t.make_home(home)
    t.write_plan(t.plan_spec(DRAWS), counts=home / "presample.npz", plan=home / "long.tsv")


# In a child before torch has worked in this process: all others begin with all imports done and no threads.
ended(child(prepare))
run = partial(t.sample, home, plan="long.tsv", spec=t.plan_spec(DRAWS))
started = time.monotonic()
ended(child(partial(run, home / "whole.npz")))
whole, span = read_arrays(home / "whole.npz")[0]["counts"], time.monotonic() - started
killed = resumed = finished = 0
while killed < kills or resumed < kills // 2:
    before = rows()
    resumed += before > 0
    pid = child(partial(run, out))
    time.sleep(moments.uniform(0, 0.3 * span))
    if not ended(pid, os.WNOHANG):
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    if out.exists():  # it was done before the kill came: begin again
        assert np.array_equal(read_arrays(out)[0]["counts"], whole)
        out.unlink()
        finished += 1
        continue
    assert rows() >= before, "work that was saved is lost"
    killed += 1
ended(child(partial(run, out)))
assert np.array_equal(read_arrays(out)[0]["counts"], whole)
assert not partial_counts.exists()
print(f"killed {{killed}}, resumed {{resumed}}, finished {{finished}}, span {{span}}")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_change_no_count(tmp_path):
    """Real jobs (digits, a small network, 48,000 draws) in processes of their own, each ended by SIGKILL."""
    code = DRIVER.format(root=str(ROOT), unit=str(ROOT / "tests/unit"), here=str(ROOT / "tests/integration"))
    command = [sys.executable, "-c", code, str(tmp_path), str(KILLS)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    counts = dict(part.split() for part in result.stdout.strip().splitlines()[-1].split(", "))
    assert int(counts["killed"]) >= KILLS and int(counts["resumed"]) >= KILLS // 2, result.stdout
