"""Sampling as stages: planned, sharded, merged, killed and resumed, and refused where files do not belong together."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from certflow.certify.stage import certify_radii
from certflow.data.store import content_digest, prepare
from certflow.errors import ArtefactError, BusyError
from certflow.files.artefact import read_arrays, read_table, write_arrays, write_table
from certflow.files.lock import exclusive
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors
from certflow.kinds.registry import revive, spec_class
from certflow.models import build, save_model
from certflow.noise import Stream
from certflow.noise.variates import image_uniforms
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import shard_bounds, write_plan
from certflow.sampling.resume import Journal
from certflow.sampling.stage import presample_counts, sample_counts, shard_number
from certflow.stats import clopper_pearson_lower

ROOT = Path(__file__).resolve().parents[2]
DIGITS = spec_class("dataset", "digits")()
NOISE = spec_class("noise", "gaussian")(sigma=0.5)
MODEL = spec_class("model", "small_conv")()
METHOD = spec_class("method", "gaussian")().canonical()
SPEC = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.canonical(),
    "method": METHOD,
    "noise": NOISE.canonical(),
    "seed": 0,
    "engine": 1,
}
STAGE_1 = {
    **SPEC,
    "images": {"split": "test", "skip": 0, "stride": 1, "max": 12},
    "presample": {"n0": 20, "arithmetic": "float"},
}


def counts_spec(sampler) -> dict:
    return {**STAGE_1, "presample": sampler.presample(), "sampler": sampler.canonical()}


def plan_spec(n: int) -> dict:
    return counts_spec(spec_class("sampler", "fixed")(n0=20, n=n))


def certificate_spec(made_as: dict, certificate) -> dict:
    return {**made_as, "certificate": certificate.canonical()}


def trained_spec() -> dict:
    return {**{key: value for key, value in SPEC.items() if key != "engine"}, "model": MODEL.architecture()}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a manifest, a model with random weights, stage-1 counts and a plan of 700 draws for 12 images."""
    return make_home(tmp_path_factory.mktemp("sampling"))


def make_home(folder: Path) -> Path:
    prepare(DIGITS, folder / "digits.json")
    torch.manual_seed(1)
    record = Provenance(format="model", spec=trained_spec(), parents={"data": content_digest(folder / "digits.json")})
    save_model(folder / "model.safetensors", build(MODEL, DIGITS.info()), record)
    presample_counts(
        STAGE_1,
        DIGITS,
        manifest=folder / "digits.json",
        model=folder / "model.safetensors",
        counts=folder / "presample.npz",
        device="cpu",
    )
    write_plan(plan_spec(700), counts=folder / "presample.npz", plan=folder / "plan.tsv")
    return folder


def sample(home: Path, path: Path, shard: str = "1-of-1", plan: str = "plan.tsv", spec: dict | None = None) -> Path:
    sample_counts(
        spec or plan_spec(700),
        DIGITS,
        manifest=home / "digits.json",
        model=home / "model.safetensors",
        plan=home / plan,
        counts=path,
        shard=shard,
        device="cpu",
    )
    return path


def test_the_plan_chooses_the_class_from_stage_1_alone(home):
    counts, record = read_arrays(home / "presample.npz", format="presample")
    plan, planned = read_table(home / "plan.tsv", format="plan")
    assert (counts["counts"].sum(axis=1) == 20).all()
    assert (plan["selected"] == counts["counts"].argmax(axis=1)).all()
    assert (plan["k0"] == counts["counts"].max(axis=1)).all()
    assert (plan["k0_other"] == np.sort(counts["counts"], axis=1)[:, -2]).all()
    assert (plan["n"] == 700).all() and (plan["n0"] == 20).all()
    assert planned.parents["presample"] == record.digest


@pytest.mark.parametrize("shards", [2, 3, 5, 20])
def test_merged_counts_are_the_same_for_any_number_of_shards(home, tmp_path, shards):
    whole = sample(home, tmp_path / "whole.npz")
    merge_counts(plan_spec(700), shards=[whole], plan=home / "plan.tsv", counts=tmp_path / "one.npz")
    parts = [sample(home, tmp_path / f"{k}.npz", f"{k}-of-{shards}") for k in range(shards, 0, -1)]
    merge_counts(plan_spec(700), shards=parts, plan=home / "plan.tsv", counts=tmp_path / "many.npz")
    one, one_record = read_arrays(tmp_path / "one.npz", format="counts")
    many, many_record = read_arrays(tmp_path / "many.npz", format="counts")
    assert np.array_equal(one["idx"], many["idx"]) and np.array_equal(one["counts"], many["counts"])
    assert one_record.digest == many_record.digest
    assert (many["counts"].sum(axis=1) == 700).all() and (many["seconds"] > 0).all()


def test_decisions_go_through_plan_shards_merge_and_certificate(home, tmp_path):
    sampler = spec_class("sampler", "decide")(n0=20, test="mixture", radii=[0.0, 0.8, 1.3], n_max=2000, look=50)
    spec = counts_spec(sampler)
    write_plan(spec, counts=home / "presample.npz", plan=tmp_path / "plan.tsv")
    tables = []
    for shards in (1, 3):
        parts = [
            sample(home, tmp_path / f"{k}.npz", f"{k}-of-{shards}", tmp_path / "plan.tsv", spec)
            for k in range(1, shards + 1)
        ]
        merge_counts(spec, shards=parts, plan=tmp_path / "plan.tsv", counts=tmp_path / f"{shards}.merged.npz")
        certificate = spec_class("certificate", "sequential")(sampler="decide")
        certify_radii(
            certificate_spec(spec, certificate),
            plan=tmp_path / "plan.tsv",
            counts=tmp_path / f"{shards}.merged.npz",
            table=tmp_path / f"{shards}.tsv",
        )
        tables.append(read_table(tmp_path / f"{shards}.tsv", format="certificate")[0])
    one, three = (table.drop(columns=["seconds", "time"]) for table in tables)
    pd.testing.assert_frame_equal(one, three)
    assert set(one["radius"]) <= {0.0, 0.8, 1.3} and one["n"].between(50, 2000).all() and one["n"].nunique() > 1
    assert ((one["predict"] == -1) == (one["reason"] == "low_pA")).all()
    arrays, _ = read_arrays(tmp_path / "1.merged.npz", format="counts")
    assert (arrays["counts"].sum(axis=1) == one["n"]).all() and (arrays["drawn"] == one["n"]).all()
    paths = {"plan": tmp_path / "plan.tsv", "counts": tmp_path / "1.merged.npz", "table": tmp_path / "none.tsv"}
    for kind, fields, message in (
        ("neyman_pearson", {}, "plan.tsv: .*decide sampler need another certificate: sequential"),
        ("sequential", {"alpha": 0.0001}, "plan.tsv: .*its sampler stops at alpha=0.001"),
    ):
        wrong = spec_class("certificate", kind)(sampler="decide", **fields)
        with pytest.raises(ArtefactError, match=message):
            certify_radii(certificate_spec(spec, wrong), **paths)
    assert not (tmp_path / "none.tsv").exists()


def test_planned_draws_and_coins_go_through_plan_shards_merge_and_certificate(home, tmp_path):
    sampler = spec_class("sampler", "planned")(n0=20, budget=300.0, n_min=100, n_max=1000, granularity=50)
    spec = counts_spec(sampler)
    write_plan(spec, counts=home / "presample.npz", plan=tmp_path / "plan.tsv")
    plan, _ = read_table(tmp_path / "plan.tsv", format="plan")
    assert plan["n"].nunique() > 1 and 20 + plan["n"].mean() <= 300
    certificate = spec_class("certificate", "neyman_pearson")(sampler="s", bound="randomized", bound_form="auto")
    tables = []
    for shards in (1, 3):
        parts = [
            sample(home, tmp_path / f"{k}-of-{shards}.npz", f"{k}-of-{shards}", tmp_path / "plan.tsv", spec)
            for k in range(1, shards + 1)
        ]
        paths = {"plan": tmp_path / "plan.tsv", "counts": tmp_path / f"{shards}.npz"}
        merge_counts(spec, shards=parts, **paths)
        wanted = certificate_spec(spec, certificate)
        certify_radii(wanted, **paths, table=tmp_path / f"{shards}.tsv")
        tables.append(read_table(tmp_path / f"{shards}.tsv", format="certificate")[0])
    one, three = (table.drop(columns=["seconds", "time"]) for table in tables)
    pd.testing.assert_frame_equal(one, three)
    assert (one["n"] == plan["n"]).all() and ((one["n"] == 0) == (one["reason"] == "not_sampled")).all()
    assert (one["radius"] >= one["radius_plain"]).all() and set(one["bound_form"]) <= {"one", "two"}
    coins = image_uniforms(one["idx"].to_numpy(), seed=SPEC["seed"], stream=Stream.BOUND)
    np.testing.assert_array_equal(one[["u", "u_other"]], np.maximum(coins[:, :2], 0.02))


def test_exact_arithmetic_holds_from_the_first_stage_to_the_certificate(home, tmp_path):
    sampler = spec_class("sampler", "fixed")(n0=20, n=700, arithmetic="exact")
    files = {"manifest": home / "digits.json", "model": home / "model.safetensors"}
    first = {**STAGE_1, "presample": sampler.presample()}
    presample_counts(first, DIGITS, counts=tmp_path / "presample.npz", device="cpu", **files)
    spec = counts_spec(sampler)
    with pytest.raises(ArtefactError, match=r"presample\.arithmetic: file has 'float', asked for 'exact'"):
        write_plan(spec, counts=home / "presample.npz", plan=tmp_path / "plan.tsv")
    write_plan(spec, counts=tmp_path / "presample.npz", plan=tmp_path / "plan.tsv")
    parts = [sample(home, tmp_path / f"{k}.npz", f"{k}-of-3", tmp_path / "plan.tsv", spec) for k in (1, 2, 3)]
    merge_counts(spec, shards=parts, plan=tmp_path / "plan.tsv", counts=tmp_path / "counts.npz")
    whole, _ = read_arrays(sample(home, tmp_path / "whole.npz", plan=tmp_path / "plan.tsv", spec=spec))
    counts, _ = read_arrays(tmp_path / "counts.npz")
    assert np.array_equal(counts["counts"], whole["counts"])
    floats, _ = read_arrays(sample(home, tmp_path / "floats.npz"))
    assert not np.array_equal(counts["counts"], floats["counts"])
    certificate = certificate_spec(spec, spec_class("certificate", "neyman_pearson")(sampler="x"))
    paths = {"plan": tmp_path / "plan.tsv", "counts": tmp_path / "counts.npz", "table": tmp_path / "table.tsv"}
    certify_radii(certificate, **paths)
    table, record = read_table(tmp_path / "table.tsv", format="certificate")
    assert record.notes["claim"]["domain"] == "8-bit grid" and record.notes["noise_distance"] == NOISE.distance(64)
    bound = clopper_pearson_lower(table["k"].to_numpy(), 700, 0.001)
    assert (table["p_lower"] <= np.maximum(bound - NOISE.distance(64), 0)).all()
    np.testing.assert_allclose(table["p_lower"], bound, rtol=1e-7, atol=1e-14)


def test_specs_state_their_arithmetic():
    assert plan_spec(700)["sampler"]["arithmetic"] == "float"
    sampler = spec_class("sampler", "fixed")(n0=20, n=700, arithmetic="exact")
    assert sampler.canonical()["arithmetic"] == "exact" and revive("sampler", sampler.canonical()) == sampler
    assert revive("sampler", plan_spec(700)["sampler"]).arithmetic == "float"


def test_shards_cover_all_images_with_about_equal_work():
    draws = np.random.default_rng(0).integers(0, 1000, 300)
    for shards in (1, 2, 7, 299, 400):
        bounds = shard_bounds(draws, shards)
        assert len(bounds) == shards + 1 and bounds[0] == 0 and bounds[-1] == 300 and (np.diff(bounds) >= 0).all()
        work = [draws[a:b].sum() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        assert max(work) <= draws.sum() / shards + draws.max()
    assert shard_bounds(np.full(12, 100), 4).tolist() == [0, 3, 6, 9, 12]
    with pytest.raises(ValueError, match="shards: must be at least 1, got 0"):
        shard_bounds(draws, 0)


def test_a_shard_is_named_by_its_number_and_how_many_there_are():
    assert (
        shard_number("1-of-1") == (1, 1) and shard_number("12-of-12") == (12, 12) and shard_number("2-of-4") == (2, 4)
    )
    for name in ("0-of-2", "3-of-2", "1-of-0", "2of4", "1-of-2x", "x1-of-2", "-1-of-2", ""):
        with pytest.raises(ValueError, match="shard must be named like 2-of-4, got"):
            shard_number(name)


def test_missing_doubled_and_foreign_shards_are_refused(home, tmp_path):
    first, second = (sample(home, tmp_path / f"{k}.npz", f"{k}-of-2") for k in (1, 2))
    for shards in ([first], [first, second, second]):
        with pytest.raises(ArtefactError, match=r"do not hold its images once each \(first: idx 6\)"):
            merge_counts(plan_spec(700), shards=shards, plan=home / "plan.tsv", counts=tmp_path / "x.npz")
    write_plan(plan_spec(600), counts=home / "presample.npz", plan=tmp_path / "other.tsv")
    with pytest.raises(ArtefactError, match="1.npz: .*sampler.n: file has 700, asked for 600"):
        merge_counts(plan_spec(600), shards=[first, second], plan=tmp_path / "other.tsv", counts=tmp_path / "x.npz")


def test_merged_counts_name_every_device_they_were_made_on(home, tmp_path):
    shards = [sample(home, tmp_path / f"{k}.npz", f"{k}-of-2") for k in (1, 2)]
    arrays, record = read_arrays(shards[1], format="shard")
    write_arrays(shards[1], arrays, replace(record, device="another"))
    merge_counts(plan_spec(700), shards=shards, plan=home / "plan.tsv", counts=tmp_path / "x.npz")
    devices = {read_arrays(shards[0], format="shard")[1].device, "another"}
    assert set(read_arrays(tmp_path / "x.npz", format="counts")[1].device.split("; ")) == devices


def test_counts_that_do_not_sum_to_n_are_refused(home, tmp_path):
    path = sample(home, tmp_path / "a.npz")
    arrays, record = read_arrays(path)
    arrays["counts"][3, 0] += 1
    write_arrays(path, arrays, record)
    with pytest.raises(ArtefactError, match="image idx 3: its counts do not sum to n"):
        merge_counts(plan_spec(700), shards=[path], plan=home / "plan.tsv", counts=tmp_path / "x.npz")


def test_a_plan_for_another_model_or_noise_is_refused(home, tmp_path):
    with pytest.raises(ArtefactError, match="seed: file has 0, asked for 1"):
        sample(home, tmp_path / "a.npz", spec={**plan_spec(700), "seed": 1})
    louder = {**plan_spec(700), "noise": spec_class("noise", "gaussian")(sigma=1.0).canonical()}
    with pytest.raises(ArtefactError, match="noise.sigma: file has 0.5, asked for 1.0"):
        sample(home, tmp_path / "a.npz", spec=louder)
    with pytest.raises(ArtefactError, match="method.epochs: file has 150, asked for 9"):
        sample(home, tmp_path / "a.npz", spec={**plan_spec(700), "method": {**METHOD, "epochs": 9}})
    table, record = read_table(home / "plan.tsv")
    parents = {**record.parents, "model": "0" * 64}
    write_table(
        home / "foreign.tsv", table, Provenance(format="plan", spec=record.spec, parents=parents, notes=record.notes)
    )
    with pytest.raises(ArtefactError, match=r"parents\.model: file has .*delete it and run again"):
        sample(home, tmp_path / "a.npz", plan="foreign.tsv")


def test_where_precision_changed_stage_1_is_to_be_made_again_too(home, tmp_path):
    table, record = read_table(home / "plan.tsv")
    coarse = {**record.notes, "precision": "float16"}
    write_table(
        home / "coarse.tsv", table, Provenance(format="plan", spec=record.spec, parents=record.parents, notes=coarse)
    )
    with pytest.raises(
        ArtefactError, match="notes.precision: file has 'float16'.* stage-1 counts, .*results/presample"
    ):
        sample(home, tmp_path / "a.npz", plan="coarse.tsv")


def test_a_plan_made_from_other_weights_of_the_same_recipe_is_refused(home, tmp_path):
    torch.manual_seed(2)
    record = read_tensors(home / "model.safetensors")[1]
    save_model(tmp_path / "model.safetensors", build(MODEL, DIGITS.info()), record)
    files = {"manifest": home / "digits.json", "plan": home / "plan.tsv", "counts": tmp_path / "a.npz"}
    with pytest.raises(ArtefactError, match="parents.model: file has"):
        sample_counts(
            plan_spec(700), DIGITS, model=tmp_path / "model.safetensors", shard="1-of-1", device="cpu", **files
        )


def test_a_plan_is_made_only_from_counts_of_its_own_noise_and_size(home, tmp_path):
    louder = {**plan_spec(700), "noise": spec_class("noise", "gaussian")(sigma=1.0).canonical()}
    with pytest.raises(ArtefactError, match="noise.sigma: file has 0.5, asked for 1.0"):
        write_plan(louder, counts=home / "presample.npz", plan=tmp_path / "p.tsv")
    arrays, record = read_arrays(home / "presample.npz")
    write_arrays(tmp_path / "other.npz", arrays, replace(record, format="shard"))
    with pytest.raises(ArtefactError, match="is a 'shard' file .* a 'presample' file .* is needed"):
        write_plan(plan_spec(700), counts=tmp_path / "other.npz", plan=tmp_path / "p.tsv")
    larger = counts_spec(spec_class("sampler", "fixed")(n0=30, n=700))
    with pytest.raises(ArtefactError, match="presample.n0: file has 20, asked for 30"):
        write_plan(larger, counts=home / "presample.npz", plan=tmp_path / "p.tsv")


def test_a_truncated_file_is_refused_with_its_name(home, tmp_path):
    path = sample(home, tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtefactError, match=r"a\.npz: is damaged"):
        merge_counts(plan_spec(700), shards=[path], plan=home / "plan.tsv", counts=tmp_path / "x.npz")


def test_an_edited_plan_is_refused(home, tmp_path):
    table, record = read_table(home / "plan.tsv")
    write_table(tmp_path / "plan.tsv", table, record)
    edited = pd.read_csv(tmp_path / "plan.tsv", sep="\t").assign(n=5)
    edited.to_csv(tmp_path / "plan.tsv", sep="\t", index=False)
    with pytest.raises(ArtefactError, match="differs from what was written"):
        read_table(tmp_path / "plan.tsv")


def test_two_processes_on_one_shard_are_refused(home, tmp_path):
    with exclusive(tmp_path / "a.npz", "sampling"), pytest.raises(BusyError, match=str(os.getpid())):
        sample(home, tmp_path / "a.npz")


def test_what_a_node_that_was_killed_left_of_the_counts_goes(home, tmp_path):
    (tmp_path / "a.npz.another-node.7.part").write_bytes(b"half a fi")
    sample(home, tmp_path / "a.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz"}


def test_without_locks_what_another_node_may_be_writing_stays(home, tmp_path, no_locks):
    others = [f"{name}.another-node.7.part" for name in ("a.npz", "a.npz.partial", "a.npz.partial.part-of-it")]
    for name in others:
        (tmp_path / name).write_bytes(b"half a fi")
    sample(home, tmp_path / "a.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", *others}


def test_partial_counts_of_another_job_are_never_mixed_in(tmp_path):
    counts, seconds = np.ones((2, 3), np.int64), np.zeros(2)
    Journal(tmp_path / "a", "one", seconds=0.0).save(5, counts, seconds)
    assert Journal(tmp_path / "a", "one").load(2, 3)[0] == 5
    assert Journal(tmp_path / "a", "two").load(2, 3) is None
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_reported_and_leaves_the_last_state_intact(tmp_path):
    code = (
        "import resource, sys, signal; sys.path.insert(0, sys.argv[1]); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import numpy as np; from pathlib import Path; from certflow.sampling.resume import Journal\n"
        "from certflow.errors import ArtefactError\n"
        "j = Journal(Path(sys.argv[2]), 'job', seconds=0.0); j.save(1, np.zeros((2, 3), np.int64), np.zeros(2))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "rng = np.random.default_rng(0)\n"
        "try: j.save(2, rng.integers(0, 2**40, (200, 30)), np.zeros(200))\n"
        "except ArtefactError as error: print(error)\n"
        "print(j.load(2, 3)[0])\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(tmp_path / "p")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "could not be written" in output and output.endswith("1\n"), output
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p.attempts"}
