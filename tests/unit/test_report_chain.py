"""With which file to begin again is told by the first stage that depends on what has changed."""

from pathlib import Path

import pytest

from certflow.files.provenance import Provenance
from certflow.report.chain import chain_paths, first_stage, refusals

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
