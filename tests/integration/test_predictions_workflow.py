"""CAT-RS through the real Snakefile: its base classifier comes first; a change of the votes re-runs what learnt from them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_workflow import PER_METHOD, planned, snakemake

from lib.artefact import read_arrays
from lib.models.header import read_header

TABLE, COPIES = "results/tables/guided.tex", "results/corruptions/guided.tex"
QUICK = {"epochs": 1, "batch": 64, "lr": 0.05, "schedule": "one_cycle"}
CONFIG = {
    "methods": {
        "base": {"kind": "gaussian", **QUICK},
        "guided": {"kind": "catrs", "noises": 2, "steps": 1, "predictions": "quick", **QUICK},
    },
    "predictions": {"quick": {"method": "base", "noise": "gauss-0.25", "n": 20}},
    "corruptions": {"some": {"kind": "computed", "names": ["contrast"], "severities": [1, 4]}},
    "experiments": {
        "guided": {
            "dataset": "digits",
            "model": "tiny",
            "images": "tiny",
            "noises": ["gauss-0.50"],
            "methods": ["guided"],
            "certificates": ["tiny"],
            "radii": [0.25],
            "corruptions": ["some"],
        }
    },
}
CERTIFICATE = "results/certificates/digits/tiny/guided/gauss-0.50/seed0/{}/tiny/tiny.tsv"
STAGE = ["smooth_predictions", "merge_predictions"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]


def overlay(folder: Path, config: dict) -> tuple[Path, ...]:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(config))
    return (path,)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("guided")
    assert "(100%) done" in snakemake(folder, TABLE, COPIES, overlays=overlay(folder, CONFIG))
    return folder


def after(finished: Path, *arguments: str, target: str = TABLE, **changes: dict) -> dict[str, int]:
    """What a dry run would do with entries of the overlay's sections changed: section=(entry, settings)."""
    config = {**CONFIG, **{key: {**CONFIG[key], name: entry} for key, (name, entry) in changes.items()}}
    return planned(snakemake(finished, "-n", target, *arguments, overlays=overlay(finished, config)))


def test_the_model_was_trained_from_the_votes_of_the_base_classifier(finished):
    predictions, record = read_arrays(finished / "results/predictions/digits/tiny/quick.npz", format="predictions")
    assert predictions["counts"].dtype == np.uint16 and (predictions["counts"].sum(axis=1) == 20).all()
    train = finished / "results/train/digits/tiny"
    assert record.parents["model"] == read_header(train / "base/gauss-0.25/seed0/model.safetensors")[1]
    guided, _ = read_header(train / "guided/gauss-0.50/seed0/model.safetensors")
    assert guided.parents["predictions"] == record.digest
    assert guided.spec["tables"]["predictions"]["noise"]["sigma"] == 0.25 and guided.spec["noise"]["sigma"] == 0.5


def test_nothing_is_left_to_do(finished):
    assert after(finished) == {}


def test_another_number_of_votes_reruns_the_stage_and_what_learnt_from_it(finished):
    changed = {**CONFIG["predictions"]["quick"], "n": 30}
    expected = {**dict.fromkeys([*STAGE, *PER_METHOD], 1), "write_table": 1}
    assert after(finished, predictions=("quick", changed)) == expected
    expected["smooth_predictions"] = 3
    assert after(finished, "--set-scatter=shards=3", predictions=("quick", changed)) == {**expected, "sample_counts": 3}


def test_another_recipe_of_the_base_classifier_reruns_both_trainings(finished):
    changed = {**CONFIG["methods"]["base"], "lr": 0.06}
    expected = {**dict.fromkeys([*STAGE, *PER_METHOD], 1), "write_table": 1, "train_model": 2}
    assert after(finished, methods=("base", changed)) == expected


def test_another_recipe_of_the_model_keeps_the_votes(finished):
    changed = {**CONFIG["methods"]["guided"], "lbd": 2.0}
    assert after(finished, methods=("guided", changed)) == {**dict.fromkeys(PER_METHOD, 1), "write_table": 1}


def test_copies_are_certified_with_the_model_of_the_clean_images(finished):
    table = pd.read_csv(finished / "results/corruptions/guided.tsv", sep="\t")
    whole = table[table["severity"] == 0].set_index("corruption")
    assert list(whole.index) == ["clean images", "contrast", "mean of corruptions"]
    assert (
        whole.loc["contrast", "n_images"] == 60 and len(list((finished / "results/train").rglob("*.safetensors"))) == 2
    )
    clean = pd.read_csv(finished / "results/tables/guided.tsv", sep="\t").iloc[0]
    assert whole.loc["clean images", "acr"] == clean["acr"]
    images = {"contrast": CERTIFICATE.format("tiny@some@contrast"), "clean images": CERTIFICATE.format("tiny")}
    for name, path in images.items():
        rows = pd.read_csv(finished / path, sep="\t")
        assert whole.loc[name, "acr"] == pytest.approx((rows["radius"] * rows["correct"]).mean())
    assert rows["idx"].max() == 29


def test_other_copies_rerun_what_they_change_and_no_training(finished):
    changed = {**CONFIG["corruptions"]["some"], "severities": [2]}
    jobs = ["prepare_copies", *PER_METHOD[1:], "write_corruptions"]
    assert after(finished, target=COPIES, corruptions=("some", changed)) == dict.fromkeys(jobs, 1)
    assert after(finished, corruptions=("some", changed)) == {}


def test_missing_files_of_published_copies_are_named_before_anything_runs(tmp_path):
    output = snakemake(tmp_path, "-n", "results/corruptions/mnist-c.tex", check=False)
    assert "data/mnist_c/fog/test_images.npy" in output and "Missing input files for rule prepare_copies" in output


def test_the_papers_model_at_any_noise_waits_for_the_one_at_0_25(tmp_path):
    config = {
        "methods": {"guided": {"kind": "catrs"}},
        "experiments": {"mnist": {"methods": ["guided"], "noises": ["gauss-0.50", "gauss-1.00"]}},
    }
    output = snakemake(tmp_path, "-n", "results/tables/mnist.tex", overlays=overlay(tmp_path, config))
    expected = {"prepare_data": 1, **dict.fromkeys(PER_METHOD, 2), "write_table": 1, **dict.fromkeys(STAGE, 1)}
    assert planned(output) == {**expected, "train_model": 3}
    assert "results/train/mnist/lenet/gaussian-base/gauss-0.25/seed0/model.safetensors" in output
