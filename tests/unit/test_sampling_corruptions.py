"""Sampling around corrupted copies: numbered by severity, bound to their content, never mixed up with clean images."""

import numpy as np
import pytest
import torch
from test_sampling_stage import DIGITS, MODEL, SPEC, trained_spec

from certflow.data.corruptions import computing
from certflow.data.corruptions.store import Corrupted, prepare_corrupted
from certflow.data.store import content_digest, prepare
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.kinds.spec import without
from certflow.models import build, save_model
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import write_plan
from certflow.sampling.stage import presample_counts, sample_counts

TEST_IMAGES = 445
COMPUTED = spec_class("corruption", "computed")(severities=[1, 3])
SUBSET = {"split": "test", "skip": 0, "stride": 40, "max": None}


class Home:
    """A folder with a manifest, copies, and a model with random weights."""

    def __init__(self, folder):
        self.folder = folder
        prepare(DIGITS, folder / "digits.json")
        torch.manual_seed(1)
        record = Provenance(
            format="model", spec=trained_spec(), parents={"data": content_digest(folder / "digits.json")}
        )
        save_model(folder / "model.safetensors", build(MODEL, DIGITS.info()), record)

    def copies(self, name="contrast") -> Corrupted:
        manifest = self.folder / f"{name}.json"
        if not manifest.exists():
            prepare_corrupted(COMPUTED, name, DIGITS, clean_manifest=self.folder / "digits.json", manifest=manifest)
        return Corrupted(COMPUTED, name, manifest)

    def files(self) -> dict:
        return {"manifest": self.folder / "digits.json", "model": self.folder / "model.safetensors", "device": "cpu"}

    def presample(self, path, corrupted, **images):
        spec = without(self.spec(corrupted, **images), "sampler")
        presample_counts(spec, DIGITS, counts=path, corrupted=corrupted, **self.files())
        return path

    def spec(self, corrupted, **images):
        """What plan and counts depend on; `images`: what replaces the corruption's own entries."""
        if corrupted is not None and "corruption" not in images:
            images["corruption"] = corrupted.spec.of(corrupted.name)
        sampler = spec_class("sampler", "fixed")(n0=10, n=60)
        return {
            **SPEC,
            "images": SUBSET | images,
            "presample": sampler.presample(),
            "sampler": sampler.canonical(),
        }

    def plan(self, path, presample, corrupted):
        write_plan(self.spec(corrupted), counts=presample, plan=path)
        return path

    def sample(self, path, plan, corrupted, shard="1-of-1", spec=None):
        sample_counts(
            spec or self.spec(corrupted),
            DIGITS,
            plan=plan,
            counts=path,
            shard=shard,
            corrupted=corrupted,
            **self.files(),
        )
        return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("corrupted"))


def test_every_severity_of_the_chosen_images_is_sampled(home, tmp_path):
    corrupted = home.copies()
    presampled = home.presample(tmp_path / "a.npz", corrupted)
    arrays, record = read_arrays(presampled, format="presample")
    chosen = np.arange(0, TEST_IMAGES, 40)
    assert arrays["idx"].tolist() == [*chosen, *(2 * TEST_IMAGES + chosen)]
    assert np.array_equal(arrays["label"][: len(chosen)], arrays["label"][len(chosen) :])
    assert set(record.parents) == {"model", "data", "images"} and record.notes["images_per_severity"] == TEST_IMAGES
    plan = home.plan(tmp_path / "plan.tsv", presampled, corrupted)
    shards = [home.sample(tmp_path / f"{k}.npz", plan, corrupted, f"{k}-of-2") for k in (1, 2)]
    merge_counts(home.spec(corrupted), shards=shards, plan=plan, counts=tmp_path / "counts.npz")
    merged, counted = read_arrays(tmp_path / "counts.npz", format="counts")
    assert (merged["counts"].sum(axis=1) == 60).all() and np.array_equal(merged["idx"], arrays["idx"])
    assert counted.parents["images"] == read_table(plan)[1].parents["images"] == record.parents["images"]


def test_copies_that_change_nothing_give_the_counts_of_clean_images(home, tmp_path, monkeypatch):
    unchanged = {"brightness": (lambda image, strength, random: image, (1.0,) * 5)}
    monkeypatch.setattr(computing, "CORRUPTIONS", unchanged)
    corrupted = home.copies("brightness")
    found = {}
    for name, copies in (("clean", None), ("copies", corrupted)):
        plan = home.plan(tmp_path / f"{name}.tsv", home.presample(tmp_path / f"{name}.npz", copies), copies)
        found[name] = read_arrays(home.sample(tmp_path / f"{name}-counts.npz", plan, copies))[0]
    images = len(found["clean"]["idx"])
    assert np.array_equal(found["copies"]["idx"][:images], found["clean"]["idx"])
    assert np.array_equal(found["copies"]["counts"][:images], found["clean"]["counts"])


def test_copies_and_clean_images_are_never_mixed_up(home, tmp_path):
    corrupted, other = home.copies(), home.copies("pixelate")
    with pytest.raises(ArtefactError, match="but given copies of corruption pixelate"):
        home.presample(tmp_path / "a.npz", other, corruption=corrupted.spec.of("contrast"))
    with pytest.raises(ArtefactError, match="but given clean images"):
        home.presample(tmp_path / "a.npz", None, corruption=corrupted.spec.of("contrast"))
    plan = home.plan(tmp_path / "plan.tsv", home.presample(tmp_path / "b.npz", corrupted), corrupted)
    for wrong in (None, other):
        with pytest.raises(ArtefactError, match="asked for images"):
            home.sample(tmp_path / "c.npz", plan, wrong, spec=home.spec(corrupted))
    with pytest.raises(ArtefactError, match="images.corruption.name: file has 'contrast', asked for 'pixelate'"):
        home.sample(tmp_path / "c.npz", plan, other)
