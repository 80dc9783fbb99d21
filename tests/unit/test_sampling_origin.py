"""A job draws from the model that its specification asks for and from no other: every part of how it was made counts."""

import pytest

from certflow.data.store import FORMAT, content_digest
from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import write_record
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.sampling.origin import checked_origin

MODEL = spec_class("model", "cifar_resnet")(depth=8)
MADE = {
    "dataset": {"kind": "digits"},
    "method": {"kind": "gaussian", "epochs": 3},
    "noise": {"kind": "gaussian", "sigma": 0.5},
    "seed": 0,
    "tables": {"votes": {"n": 5}},
    "fine_tuned": True,
    "files": {"start_from": "0a"},
    "parts": {"denoiser": {"seed": 1}},
}
JOB = {**MADE, "model": MODEL.canonical(), "presample": {"n0": 20}, "sampler": {"n": 50}}
RECORD = Provenance(format="model", spec={**MADE, "model": MODEL.architecture()}, parents={})


@pytest.fixture
def manifest(tmp_path):
    write_record(tmp_path / "digits.json", Provenance(format=FORMAT, spec={}, parents={"test": "1b", "train": "2c"}))
    return tmp_path / "digits.json"


def test_what_a_job_draws_is_no_part_of_how_its_model_was_made(manifest):
    assert checked_origin("m.pt", RECORD, JOB, manifest) == content_digest(manifest)
    louder = {**JOB, "presample": {"n0": 30}, "model": {**JOB["model"], "inference": {"precision": "bfloat16"}}}
    assert checked_origin("m.pt", RECORD, louder, manifest) == content_digest(manifest)


@pytest.mark.parametrize("part", MADE)
def test_a_model_that_was_made_otherwise_is_refused(manifest, part):
    without = {key: value for key, value in JOB.items() if key != part}
    for job in (without, {**JOB, part: {"kind": "another"}}):
        with pytest.raises(ArtefactError, match=rf"m\.pt: was made from another spec \(.*{part}"):
            checked_origin("m.pt", RECORD, job, manifest)


def test_a_model_of_another_architecture_is_refused(manifest):
    deeper = {**JOB, "model": {**MODEL.canonical(), "depth": 14}}
    with pytest.raises(ArtefactError, match=r"model\.depth: file has 8, asked for 14"):
        checked_origin("m.pt", RECORD, deeper, manifest)


def test_a_model_that_was_trained_on_other_images_is_refused(manifest):
    of = {
        name: Provenance(format="model", spec=RECORD.spec, parents={"data": name})
        for name in ("other", content_digest(manifest))
    }
    assert checked_origin("m.pt", of[content_digest(manifest)], JOB, manifest) == content_digest(manifest)
    with pytest.raises(DataError, match=r"digits\.json: its content is not what m\.pt was trained on"):
        checked_origin("m.pt", of["other"], JOB, manifest)
