"""Which shards are merged: those that are there, then those that were begun, then as many as are asked for."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from certflow.files.artefact import write_arrays, write_table
from certflow.files.provenance import Provenance
from certflow.workflow.shards import Wanted, numbered, shard_names

SPEC = {"method": {"epochs": 2}, "sampler": {"n": 300}}


def shard(folder: Path, name: str, spec=SPEC, at: int = 100, **parents) -> None:
    path = folder / f"{name}.npz"
    write_arrays(path, {"counts": np.zeros((1, 2), np.int64)}, Provenance("shard", spec, parents=parents))
    os.utime(path, (at, at))


def chosen(folder: Path, asked: int, *, insist: bool = False, **wanted) -> list[str]:
    return shard_names(folder, asked, Wanted(SPEC, folder / "model.safetensors", **wanted), insist=insist)


def test_without_any_as_many_as_are_asked_for(tmp_path):
    assert chosen(tmp_path, 3) == numbered(3) == ["1-of-3", "2-of-3", "3-of-3"]
    assert chosen(tmp_path / "missing", 1) == ["1-of-1"]


@pytest.mark.parametrize("asked", [1, 2, 5])
@pytest.mark.parametrize("insist", [False, True])
def test_a_complete_set_is_taken_whatever_is_asked_for(tmp_path, asked, insist):
    for name in ("1-of-2", "2-of-2", "1-of-5"):
        shard(tmp_path, name)
    assert chosen(tmp_path, asked, insist=insist) == numbered(2)


def test_of_several_complete_sets_the_newest_was_merged_last(tmp_path):
    shard(tmp_path, "1-of-1", at=100)
    for number, at in ((1, 90), (2, 110)):
        shard(tmp_path, f"{number}-of-2", at=at)
    assert chosen(tmp_path, 1) == numbered(2)
    os.utime(tmp_path / "1-of-1.npz", (120, 120))
    assert chosen(tmp_path, 2) == numbered(1)


def test_a_set_that_was_begun_is_finished_first(tmp_path):
    for name in ("1-of-5", "2-of-5", "3-of-5", "1-of-4", "1-of-8", "2-of-8", "3-of-8"):
        shard(tmp_path, name)
    assert chosen(tmp_path, 1) == chosen(tmp_path, 4, insist=True) == numbered(5)


def test_half_finished_jobs_are_given_up_only_for_a_number_that_somebody_states(tmp_path):
    (tmp_path / "2-of-3.npz.partial").write_bytes(b"state")
    (tmp_path / "2-of-3.npz.partial.attempts").write_bytes(b"")
    assert chosen(tmp_path, 1) == numbered(3)
    assert chosen(tmp_path, 8, insist=True) == numbered(8)
    shard(tmp_path, "1-of-3")
    assert chosen(tmp_path, 8, insist=True) == numbered(3)


def test_shards_of_other_settings_and_damaged_ones_do_not_count(tmp_path):
    shard(tmp_path, "1-of-1", spec={**SPEC, "method": {"epochs": 90}})
    (tmp_path / "1-of-2.npz").write_bytes(b"PK torn")
    shard(tmp_path, "2-of-2")
    shard(tmp_path, "7-of-4")
    (tmp_path / "0-of-1.npz").write_bytes(b"")
    (tmp_path / "x-of-1.npz").write_bytes(b"")
    assert chosen(tmp_path, 5) == numbered(2)
    (tmp_path / "2-of-2.npz").unlink()
    assert chosen(tmp_path, 5) == numbered(5)


def test_shards_of_another_plan_or_other_weights_do_not_count(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    from certflow.files.tensorheader import to_metadata
    from certflow.models.header import identity

    plan = Provenance("plan", SPEC, parents={"presample": "p" * 64})
    write_table(tmp_path / "plan.tsv", pd.DataFrame({"idx": [0]}), plan)
    metadata = to_metadata(Provenance("model", {}), "a" * 64)
    save_file({"w": np.zeros(2, np.float32)}, tmp_path / "model.safetensors", metadata=metadata)
    model = identity(Provenance("model", {}), "a" * 64)
    shard(tmp_path, "1-of-1", model=model, plan=plan.digest)
    assert chosen(tmp_path, 5, plan=tmp_path / "plan.tsv") == numbered(1)
    shard(tmp_path, "1-of-1", model="b" * 64, plan=plan.digest)
    assert chosen(tmp_path, 5, plan=tmp_path / "plan.tsv") == numbered(5)
    shard(tmp_path, "1-of-1", model=model, plan="q" * 64)
    assert chosen(tmp_path, 5, plan=tmp_path / "plan.tsv") == numbered(5)
