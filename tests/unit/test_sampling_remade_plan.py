"""A plan remade with other contents has the same record: counts drawn as the old one said are then refused, or still hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certflow.certify.stage import certify_radii
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, read_table, write_arrays, write_table
from certflow.files.provenance import Provenance, circumstances
from certflow.kinds.registry import spec_class
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import read_plan

NOISE = spec_class("noise", "gaussian")(sigma=0.5).canonical()
SPEC = {
    "noise": NOISE,
    "seed": 0,
    "dataset": spec_class("dataset", "digits")().canonical(),
    "images": {"split": "test"},
}
IDX = np.array([3, 5, 9])
PLAN = {
    "idx": IDX,
    "label": [0, 1, 2],
    "selected": [0, 1, 2],
    "k0": [18, 12, 20],
    "k0_other": [2, 8, 0],
    "n0": 20,
    "n": 100,
    "seconds0": [0.5, 0.25, 0.125],
}
SECOND = {"n_q": 50, "q_kind": "truncated", "q_param": [0.25, 0.5, 0.75]}
SAMPLERS = {
    "fixed": spec_class("sampler", "fixed")(n0=20, n=100),
    "double": spec_class("sampler", "double")(n0=20, n=100, n_q=50),
    "decide": spec_class("sampler", "decide")(n0=20, test="mixture", n_max=100, look=50, radii=[0.0, 0.5]),
}
CERTIFICATES = {
    "fixed": spec_class("certificate", "neyman_pearson")(sampler="s"),
    "double": spec_class("certificate", "dsrs")(sampler="s"),
    "decide": spec_class("certificate", "sequential")(sampler="s"),
}


def spec_of(kind: str) -> dict:
    return {**SPEC, "sampler": SAMPLERS[kind].canonical()}


def make_plan(folder: Path, kind: str, **changed) -> Path:
    import pandas as pd

    columns = {**PLAN, **(SECOND if kind == "double" else {}), **changed}
    record = Provenance(format="plan", spec=spec_of(kind), parents={"presample": "p" * 64, "model": "m" * 64})
    write_table(folder / "plan.tsv", pd.DataFrame(columns), record)
    return folder / "plan.tsv"


def make_shard(folder: Path, plan: Path, kind: str) -> Path:
    """What sampling would write for all images: 90 hits of the class the first plan selects, and 10 of another."""
    hits = np.eye(4, dtype=np.int64)[[0, 1, 2]] * 90 + np.eye(4, dtype=np.int64)[3] * 10
    arrays = {"idx": IDX, "label": IDX, "counts": hits, "seconds": np.ones(3)}
    if kind == "double":
        arrays["counts_q"] = hits // 2
    if kind == "decide":
        arrays |= {"drawn": np.full(3, 100), "decided": np.array([0.0, 0.0, 0.5])}
    parents = {"model": "m" * 64, **read_plan(plan, spec_of(kind)).parents}
    write_arrays(folder / "shard.npz", arrays, Provenance(format="shard", spec=spec_of(kind), parents=parents))
    return folder / "shard.npz"


def merged(folder: Path, plan: Path, shard: Path, kind: str) -> Path:
    merge_counts(spec_of(kind), shards=[shard], plan=plan, counts=folder / "counts.npz")
    return folder / "counts.npz"


def certify(folder: Path, plan: Path, counts: Path, kind: str):
    certificate = {**spec_of(kind), "certificate": CERTIFICATES[kind].canonical()}
    certify_radii(certificate, plan=plan, counts=counts, table=folder / "table.tsv")
    return read_table(folder / "table.tsv", format="certificate")[0]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("fixed", {"idx": [3, 9, 5]}),
        ("double", {"q_param": [0.25, 0.5, 0.7500001]}),
        ("double", {"n": [100, 100, 150], "n_q": [50, 50, 0]}),
        ("decide", {"selected": [0, 1, 3]}),
    ],
)
def test_counts_of_another_plan_are_refused_though_its_record_is_the_same(tmp_path, kind, changed):
    plan = make_plan(tmp_path, kind)
    shard = make_shard(tmp_path, plan, kind)
    counts, before = merged(tmp_path, plan, shard, kind), read_table(plan)[1].digest
    assert len(certify(tmp_path, plan, counts, kind)) == 3
    plan = make_plan(tmp_path, kind, **changed)
    assert read_table(plan)[1].digest == before
    with pytest.raises(ArtefactError, match=r"shard\.npz: was counted under another plan than .*plan\.tsv.*delete"):
        merge_counts(spec_of(kind), shards=[shard], plan=plan, counts=tmp_path / "x.npz")
    with pytest.raises(ArtefactError, match=r"counts\.npz: was counted under another plan"):
        certify(tmp_path, plan, counts, kind)
    assert not (tmp_path / "x.npz").exists()


def test_what_stage_2_is_not_told_may_change(tmp_path):
    """Fresh draws serve whichever class stage 1 selects, and seconds are no part of what was planned."""
    plan = make_plan(tmp_path, "fixed")
    counts = merged(tmp_path, plan, make_shard(tmp_path, plan, "fixed"), "fixed")
    assert certify(tmp_path, plan, counts, "fixed")["predict"].tolist() == [0, 1, 2]
    plan = make_plan(tmp_path, "fixed", selected=[0, 1, 3], k0=[18, 12, 11], seconds0=[9.0, 9.0, 9.0])
    table = certify(tmp_path, plan, counts, "fixed")
    assert table["predict"].tolist() == [0, 1, -1] and table["k"].tolist() == [90, 90, 10]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_counts_that_do_not_say_what_their_plan_told_them_are_refused(tmp_path, kind):
    plan = make_plan(tmp_path, kind)
    shard = make_shard(tmp_path, plan, kind)
    arrays, record = read_arrays(shard)
    write_arrays(shard, arrays, replace(record, parents={**record.parents, "told": ""}))
    with pytest.raises(ArtefactError, match=r"shard\.npz: was counted under another plan"):
        merged(tmp_path, plan, shard, kind)


@pytest.mark.parametrize(
    "wrong",
    [
        {"decided": np.array([0.0, 0.0, 9.0])},
        {"decided": np.array([0.0, 0.25, 0.5])},
        {"decided": np.array([0.0, np.nan, 0.5])},
        {"decided": np.array([-1.0, 0.0, 0.5])},  # the counts hold more than that
        {"first": [60, 0, 0, 0], "drawn": np.array([60, 100, 100])},
        {"first": [10, 0, 0, 90], "decided": np.array([0.5, 0.0, 0.5])},  # ten hits hold nothing, whenever they came
    ],
)
def test_decisions_that_the_rule_cannot_have_taken_are_refused(tmp_path, wrong):
    plan = make_plan(tmp_path, "decide")
    shard = make_shard(tmp_path, plan, "decide")
    arrays, record = read_arrays(shard)
    arrays["counts"][0] = wrong.get("first", arrays["counts"][0])
    write_arrays(shard, {**arrays, **{name: wrong[name] for name in wrong if name in arrays}}, record)
    with pytest.raises(ArtefactError, match=r"image idx \d: was not decided by its stopping rule"):
        merge_counts(spec_of("decide"), shards=[shard], plan=plan, counts=tmp_path / "x.npz")


def test_rows_in_another_order_than_the_plan_s_are_refused(tmp_path):
    plan = make_plan(tmp_path, "fixed")
    counts = merged(tmp_path, plan, make_shard(tmp_path, plan, "fixed"), "fixed")
    arrays, record = read_arrays(counts)
    write_arrays(counts, {**arrays, "idx": arrays["idx"][[0, 2, 1]]}, record)
    with pytest.raises(
        ArtefactError, match=r"counts\.npz: row 1 is of image idx 9, but the plan has image idx 5 .*merge"
    ):
        certify(tmp_path, plan, counts, "fixed")
    write_arrays(counts, {name: values[:2] for name, values in arrays.items()}, record)
    with pytest.raises(ArtefactError, match=r"counts\.npz: holds 2 images, its plan has 3; .*merge"):
        certify(tmp_path, plan, counts, "fixed")


@pytest.mark.parametrize("part", ["notes", "parents"])
def test_shards_of_another_precision_or_of_other_weights_are_not_merged(tmp_path, part):
    plan = make_plan(tmp_path, "fixed")
    shard = make_shard(tmp_path, plan, "fixed")
    arrays, record = read_arrays(shard)
    one, two = ({name: values[rows] for name, values in arrays.items()} for rows in (slice(0, 1), slice(1, 3)))
    other = replace(record, **{part: {**getattr(record, part), "model": "another"}})
    write_arrays(tmp_path / "a.npz", one, record)
    write_arrays(tmp_path / "b.npz", two, other)
    with pytest.raises(ArtefactError, match=r"b\.npz: was made otherwise than .*a\.npz; delete both and run again"):
        merge_counts(
            spec_of("fixed"), shards=[tmp_path / "a.npz", tmp_path / "b.npz"], plan=plan, counts=tmp_path / "x.npz"
        )


def test_files_of_another_format_are_taken_for_no_shard_and_no_plan(tmp_path):
    plan = make_plan(tmp_path, "fixed")
    arrays, record = read_arrays(make_shard(tmp_path, plan, "fixed"))
    write_arrays(tmp_path / "a.npz", arrays, replace(record, format="counts"))
    with pytest.raises(ArtefactError, match=r"a\.npz: is a 'counts' file .* a 'shard' file .* is needed"):
        merged(tmp_path, plan, tmp_path / "a.npz", "fixed")
    table, record = read_table(plan)
    write_table(tmp_path / "b.tsv", table, replace(record, format="certificate"))
    with pytest.raises(ArtefactError, match=r"b\.tsv: is a 'certificate' file .* a 'plan' file .* is needed"):
        read_plan(tmp_path / "b.tsv", spec_of("fixed"))


def test_merged_counts_name_the_versions_that_counted_not_those_that_merged(tmp_path):
    plan = make_plan(tmp_path, "fixed")
    shard = make_shard(tmp_path, plan, "fixed")
    arrays, record = read_arrays(shard)
    one, two = ({name: values[part] for name, values in arrays.items()} for part in (slice(0, 1), slice(1, 3)))
    write_arrays(tmp_path / "a.npz", one, replace(record, versions={"torch": "1.0", "numpy": "0.9"}, device="x"))
    write_arrays(tmp_path / "b.npz", two, replace(record, versions={"torch": "1.1", "numpy": "0.9"}, device="x"))
    merge_counts(
        spec_of("fixed"), shards=[tmp_path / "a.npz", tmp_path / "b.npz"], plan=plan, counts=tmp_path / "counts.npz"
    )
    found = read_arrays(tmp_path / "counts.npz", format="counts")[1]
    assert found.versions == {"torch": "1.0; 1.1", "numpy": "0.9"} and found.device == "x"
    lacking = replace(record, versions={"torch": "1.0"})
    assert circumstances([found, lacking])["versions"] == {"torch": "1.0; 1.1", "numpy": "0.9; none"}
