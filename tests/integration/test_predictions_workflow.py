"""Through the real Snakefile: CAT-RS after the votes that it learns from, and corrupted copies under models that are there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_workflow import PER_METHOD, ROOT, planned, snakemake

from certflow.files.artefact import read_arrays
from certflow.models.header import read_header

TRAIN = "results/train/digits/tiny/{}/seed0/model.safetensors"
GUIDED, TABLE, COPIES = TRAIN.format("guided/gauss-0.50"), "results/tables/guided.tex", "results/corruptions/robust.tex"
CERTIFICATE = "results/certificates/digits/tiny/one/gauss-0.25/seed0/{}/tiny/tiny.tsv"
TINY = {"dataset": "digits", "model": "tiny", "images": "tiny", "certificates": ["tiny"], "radii": [0.25]}
CONFIG = {
    "methods": {
        "guided": {
            "kind": "catrs",
            "noises": 2,
            "steps": 1,
            "epochs": 1,
            "batch": 64,
            "lr": 0.05,
            "predictions": "quick",
        }
    },
    "predictions": {"quick": {"method": "one", "noise": "gauss-0.25", "n": 20}},
    "corruptions": {"some": {"kind": "computed", "names": ["contrast"], "severities": [1, 4]}},
    "experiments": {
        "guided": {**TINY, "noises": ["gauss-0.50"], "methods": ["guided"]},
        "robust": {**TINY, "noises": ["gauss-0.25"], "methods": ["one"], "corruptions": ["some"]},
    },
}
STAGE = ["smooth_predictions", "merge_predictions"]
AFTER_TRAINING = {**dict.fromkeys(PER_METHOD[1:], 1), "write_table": 1}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test that uses `finished` waits for its run


def overlay(folder: Path, config: dict) -> tuple[Path, ...]:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(config))
    return (path,)


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory) -> Path:
    """The finished tiny experiment, then a model that learns from the votes of its first one, and copies under that one."""
    folder = tmp_path_factory.mktemp("extended") / "work"
    shutil.copytree(finished, folder)
    assert "(100%) done" in snakemake(folder, GUIDED, COPIES, overlays=overlay(folder, CONFIG))
    return folder


def after(folder: Path, target: str, *arguments: str, **changes: dict) -> dict[str, int]:
    """What a dry run would do with entries of the overlay's sections changed: section=(entry, settings)."""
    config = {**CONFIG, **{key: {**CONFIG.get(key, {}), name: entry} for key, (name, entry) in changes.items()}}
    return planned(snakemake(folder, "-n", target, *arguments, overlays=overlay(folder, config)))


def test_the_model_was_trained_from_the_votes_of_the_base_classifier(extended):
    predictions, record = read_arrays(extended / "results/predictions/digits/tiny/quick.npz", format="predictions")
    assert predictions["counts"].dtype == np.uint16 and (predictions["counts"].sum(axis=1) == 20).all()
    assert record.parents["model"] == read_header(extended / TRAIN.format("one/gauss-0.25"))[1]
    guided, _ = read_header(extended / GUIDED)
    assert guided.parents["predictions"] == record.digest
    assert guided.spec["tables"]["predictions"]["noise"]["sigma"] == 0.25 and guided.spec["noise"]["sigma"] == 0.5
    assert after(extended, TABLE) == AFTER_TRAINING


def test_another_number_of_votes_reruns_the_stage_and_what_learnt_from_it(extended):
    changed = ("quick", {**CONFIG["predictions"]["quick"], "n": 30})
    expected = {**dict.fromkeys(STAGE, 1), "train_model": 1, **AFTER_TRAINING}
    assert after(extended, TABLE, predictions=changed) == expected
    sharded = after(extended, TABLE, "--set-scatter=shards=3", predictions=changed)
    assert sharded == {**expected, "smooth_predictions": 3, "sample_counts": 3}


def test_another_recipe_of_the_base_classifier_reruns_both_trainings(extended):
    expected = {**dict.fromkeys(STAGE, 1), "train_model": 2, **AFTER_TRAINING}
    assert after(extended, TABLE, methods=("one", {"lr": 0.06})) == expected


def test_another_recipe_of_the_model_keeps_the_votes(extended):
    changed = ("guided", {**CONFIG["methods"]["guided"], "lbd": 2.0})
    assert after(extended, TABLE, methods=changed) == {"train_model": 1, **AFTER_TRAINING}


def test_copies_are_certified_with_the_model_of_the_clean_images(extended):
    table = pd.read_csv(extended / "results/corruptions/robust.tsv", sep="\t")
    whole = table[table["severity"] == 0].set_index("corruption")
    assert list(whole.index) == ["clean images", "contrast"]
    assert list(whole["n_images"]) == [30, 60]
    for name, images in (("contrast", "tiny@some@contrast"), ("clean images", "tiny")):
        rows = pd.read_csv(extended / CERTIFICATE.format(images), sep="\t")
        assert whole.loc[name, "acr"] == pytest.approx((rows["radius"] * rows["correct"]).mean())
    assert after(extended, COPIES) == {}


def test_other_copies_rerun_what_they_change_and_no_training(extended):
    changed = ("some", {**CONFIG["corruptions"]["some"], "severities": [2]})
    jobs = ["prepare_copies", *PER_METHOD[1:], "write_corruptions"]
    assert after(extended, COPIES, corruptions=changed) == dict.fromkeys(jobs, 1)
    assert after(extended, TABLE, corruptions=changed) == AFTER_TRAINING


def test_an_estimate_waits_for_no_certificate(tmp_path):
    overlays = (ROOT / "configs" / "preview.yaml",)
    jobs = planned(snakemake(tmp_path, "-n", "results/estimates/digits.tex", overlays=overlays))
    assert jobs["write_estimate"] == 1 and jobs["sample_counts"] == 7
    assert not {"certify_radii", "write_table", "write_report"} & set(jobs)


def test_missing_files_of_published_copies_are_named_before_anything_runs(tmp_path):
    overlays = (ROOT / "configs" / "corruptions.yaml",)
    output = snakemake(tmp_path, "-n", "results/corruptions/mnist-c.tex", overlays=overlays, check=False)
    assert (
        re.search(r"mnist_c/\w+/test_images\.npy", output) and "Missing input files for rule prepare_copies" in output
    )


def test_the_papers_model_at_any_noise_waits_for_the_one_at_0_25(tmp_path):
    config = {"experiments": {"mnist": {"methods": ["catrs"], "noises": ["gauss-0.50", "gauss-1.00"]}}}
    output = snakemake(tmp_path, "-n", "results/tables/mnist.tex", overlays=overlay(tmp_path, config))
    jobs = planned(output)
    assert jobs["train_model"] == 3 and jobs["presample_counts"] == 2
    assert jobs["smooth_predictions"] == jobs["merge_predictions"] == 1
    assert "results/train/mnist/lenet/gaussian-base/gauss-0.25/seed0/model.safetensors" in output
