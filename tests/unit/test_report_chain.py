"""With which file to begin again is told by the first stage that depends on what has changed."""

from pathlib import Path

import pytest

from certflow.files.provenance import Provenance
from certflow.report.chain import STAGES, chain_paths, first_stage, refusals

SPEC = {
    "dataset": {"kind": "digits"},
    "model": {"kind": "small_conv", "inference": {"fold": True}},
    "method": {"epochs": 2},
    "noise": {"sigma": 0.25},
    "seed": 0,
    "engine": 1,
    "images": {"max": 30},
    "presample": {"n0": 20},
    "sampler": {"n": 300},
    "certificate": {"alpha": 0.001},
}
TABLE = "sub/results/certificates/digits/tiny/one/gauss/seed0/all/cohen/np.tsv"


@pytest.mark.parametrize(
    ("key", "value", "stage", "file"),
    [
        ("dataset", {"kind": "mnist"}, "data", "sub/results/data/digits.json"),
        ("model", {"kind": "lenet", "inference": {"fold": True}}, "train", None),
        ("model", {"kind": "small_conv", "inference": {"fold": False}}, "presample", None),
        ("method", {"epochs": 90}, "train", "sub/results/train/digits/tiny/one/gauss/seed0/model.safetensors"),
        ("noise", {"sigma": 0.5}, "train", None),
        ("seed", 1, "train", None),
        ("tables", {"predictions": {}}, "train", None),
        ("parts", {"denoiser": {}}, "train", None),
        ("files", {"checkpoint": "0" * 64}, "train", None),
        ("images", {"max": 10}, "presample", "sub/results/presample/digits/tiny/one/gauss/seed0/all/cohen.npz"),
        ("presample", {"n0": 10}, "presample", None),
        ("sampler", {"n": 400}, "plan", "sub/results/plan/digits/tiny/one/gauss/seed0/all/cohen.tsv"),
        ("certificate", {"alpha": 0.01}, "certificates", TABLE),
    ],
)
def test_the_first_file_that_depends_on_a_change(key, value, stage, file):
    wanted = {**SPEC, key: value}
    assert first_stage(SPEC, wanted) == first_stage(wanted, SPEC) == stage
    changes, first = refusals(TABLE, Provenance("certificate", SPEC), wanted)
    assert all(line.startswith(key) for line in changes) and changes
    assert first == (chain_paths(TABLE)[stage] if file is None else Path(file))


def test_of_several_changes_the_earliest_counts_and_of_none_nothing_is_said():
    assert first_stage(SPEC, {**SPEC, "certificate": {}, "sampler": {}, "seed": 3}) == "train"
    assert refusals(TABLE, Provenance("certificate", SPEC), dict(reversed(SPEC.items()))) == ([], None)


def test_a_path_says_where_the_others_lie_in_a_folder_of_any_name():
    names = "cifar/net/cohen/gauss-0.25/seed0"
    found = chain_paths(f"/far/old results/certificates/{names}/every20/n1000/np-1k.tsv")
    assert {stage: path.as_posix().removeprefix("/far/old results/") for stage, path in found.items()} == {
        "certificates": f"certificates/{names}/every20/n1000/np-1k.tsv",
        "sample": f"sample/{names}/every20/n1000.npz",
        "plan": f"plan/{names}/every20/n1000.tsv",
        "presample": f"presample/{names}/every20/n1000.npz",
        "train": f"train/{names}/model.safetensors",
        "data": "data/cifar.json",
    }
    assert set(found) == set(STAGES)


@pytest.mark.parametrize(
    "path", ["np-1k.tsv", "results/certificates/a/b/c/d/seed0/e/np-1k.tsv", "results/plan/a/b/c/d/seed0/e/f/g.tsv"]
)
def test_a_path_of_another_form_says_nothing(path):
    assert chain_paths(path) == {}
