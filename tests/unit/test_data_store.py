"""Manifest and cache: the content asked for or an error, whatever happened to source, cache or manifest in between."""

import hashlib
import json
import multiprocessing
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from PIL import Image

from certflow.data.base import DataInfo, DatasetSpec
from certflow.data.cache import Entry
from certflow.data.kinds.digits import Digits
from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.source import SourceFile
from certflow.data.splits import ArraySplit, CachedSplit
from certflow.data.store import content_digest, open_split, prepare
from certflow.data.tree import TreeSplit
from certflow.errors import ArtefactError, CertflowError, DataError


@dataclass
class World:
    """What the fake dataset below reads from."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    reads: int = 0


FILES = (SourceFile("fake.bin", 5, "ab" * 32),)


class Fake(DatasetSpec):
    """A dataset whose source is `Fake.world`."""

    kind: Literal["fake"] = "fake"
    note: str = ""
    world: ClassVar[World]

    def info(self) -> DataInfo:
        return DataInfo(classes=3, shape=(2, 3, 4))

    def read(self, split, root):
        self.world.reads += 1
        return ArraySplit(self.world.images[split], self.world.labels[split], f"fake {split}", FILES)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    Fake.world = World(
        {name: rng.integers(0, 256, (n, 2, 3, 4), dtype=np.uint8) for name, n in (("train", 300), ("test", 11))},
        {name: np.arange(n) % 3 for name, n in (("train", 300), ("test", 11))},
    )
    return tmp_path


@pytest.fixture
def prepared(place):
    manifest = place / "fake.json"
    prepare(Fake(), manifest)
    return manifest


def folder_of(manifest: Path, split: str = "train") -> Path:
    record = json.loads(manifest.read_text())
    return Entry(record["parents"][split], record["notes"]["splits"][split]["listing"]).folder


def write_tree(root: Path, changed: int = 0) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
                pixels[0, 0, 0] += changed
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


def folder_spec(root: Path, **fields) -> ImageFolder:
    return ImageFolder(root=str(root), classes=2, shape=[3, 6, 5], **fields)


# --- what is opened is what was read ----------------------------------------------------------------------------------


def test_an_opened_split_holds_what_the_source_held(prepared):
    for name in ("train", "test"):
        split = open_split(Fake(), prepared, name)
        images, labels = Fake.world.images[name], Fake.world.labels[name]
        assert isinstance(split, CachedSplit) and len(split) == len(labels)
        assert split.labels.dtype == np.int64 and np.array_equal(split.labels, labels)
        chosen = np.array([5, 0, 5, len(labels) - 1])
        assert np.array_equal(split.read(chosen), images[chosen])
        assert split.read(chosen).dtype == np.uint8
        assert split.read(np.array([], dtype=np.int64)).shape == (0, 2, 3, 4)
        assert split.describe(4) == f"fake {name}[4]"
    assert Fake.world.reads == 2, "opening reads the cache, not the source"


@pytest.mark.parametrize("index", [-1, 11, 2**40])
def test_positions_outside_the_split_are_refused(prepared, index):
    with pytest.raises(IndexError, match=f"image {index} is not in a split of 11 images"):
        open_split(Fake(), prepared, "test").read(np.array([0, index]))


def test_the_digest_is_that_of_a_slow_obvious_computation(prepared):
    """Header, labels, then the SHA-256 of each image's bytes."""
    images, labels = Fake.world.images["test"], Fake.world.labels["test"]
    header = {"classes": 3, "rows": [["", "|u1"]], "shape": [11, 2, 3, 4]}
    data = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    data += b"".join(int(label).to_bytes(8, "little") for label in labels)
    data += b"".join(hashlib.sha256(bytes(image.flatten().tolist())).digest() for image in images)
    assert content_digest(prepared, "test") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("change", ["pixel", "label", "order", "missing"])
def test_every_change_of_content_changes_the_digest(place, change):
    first, second = place / "1.json", place / "2.json"
    prepare(Fake(), first)
    world = Fake.world
    if change == "pixel":
        world.images["test"][3, 1, 2, 0] ^= 1
    elif change == "label":
        world.labels["test"][3] = 1
    elif change == "order":
        world.images["test"] = world.images["test"][::-1]
    else:
        world.images["test"], world.labels["test"] = world.images["test"][:-1], world.labels["test"][:-1]
    prepare(Fake(), second)
    assert content_digest(first) != content_digest(second)
    assert content_digest(first, "test") != content_digest(second, "test")
    assert content_digest(first, "train") == content_digest(second, "train")


# --- wrong sources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "position"), [(3, 7), (-1, 0), (255, 10)])
def test_a_label_out_of_range_is_named(place, label, position):
    Fake.world.labels["test"][position] = label
    with pytest.raises(DataError, match=rf"fake test\[{position}\]: has label {label}, .* classes 0 to 2"):
        prepare(Fake(), place / "fake.json")
    assert not (place / "fake.json").exists()


def test_images_of_another_shape_or_type_are_refused(place):
    images = Fake.world.images["test"]
    for wrong in (images[:, :1], images.astype(np.float32), images[:-1]):
        Fake.world.images["test"] = wrong
        with pytest.raises(DataError, match=r"fake test: holds .*expected uint8 \(11, 2, 3, 4\)"):
            prepare(Fake(), place / "fake.json")


# --- manifests --------------------------------------------------------------------------------------------------------


def test_a_manifest_of_another_dataset_is_refused(prepared):
    with pytest.raises(ArtefactError, match="note: file has '', asked for 'other'"):
        open_split(Fake(note="other"), prepared, "test")
    with pytest.raises(ArtefactError, match="kind: file has 'fake', asked for 'digits'"):
        open_split(Digits(), prepared, "test")


def test_a_missing_or_altered_manifest_is_refused(prepared):
    with pytest.raises(ArtefactError, match="nowhere.json: is missing; prepare"):
        open_split(Fake(), prepared.with_name("nowhere.json"), "test")
    record = json.loads(prepared.read_text())
    record["parents"]["test"] = "0" * 64
    prepared.write_text(json.dumps(record))
    with pytest.raises(ArtefactError, match="altered"):
        content_digest(prepared)
    prepared.write_text("{")
    with pytest.raises(ArtefactError, match="is damaged"):
        open_split(Fake(), prepared, "test")


def test_a_split_that_was_not_prepared_is_refused(place):
    write_tree(place / "tree")
    spec = folder_spec(place / "tree", only="test")
    prepare(spec, place / "m.json")
    with pytest.raises(DataError, match="has no train split, only test"):
        open_split(spec, place / "m.json", "train")
    with pytest.raises(DataError, match="has no train split, only test"):
        content_digest(place / "m.json", "train")


def test_a_manifest_lists_spec_and_source_files(prepared):
    record = json.loads(prepared.read_text())
    assert record["spec"] == Fake().canonical()
    assert record["notes"]["splits"]["test"] == {
        "images": 11,
        "source": "fake test",
        "listing": None,
        "files": [{"path": "fake.bin", "bytes": 5, "sha256": "ab" * 32}],
    }


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_cache_is_rebuilt_after_deletion(prepared, place):
    shutil.rmtree(place / "cache")
    split = open_split(Fake(), prepared, "train")
    assert np.array_equal(split.read(np.arange(300)), Fake.world.images["train"])
    assert Fake.world.reads == 3
    open_split(Fake(), prepared, "train")
    assert Fake.world.reads == 3


def test_a_changed_source_is_refused_when_the_cache_is_gone(prepared, place):
    shutil.rmtree(place / "cache")
    Fake.world.images["train"][17, 0, 0, 0] ^= 1
    with pytest.raises(DataError, match="fake train: the source files are not those of the manifest"):
        open_split(Fake(), prepared, "train")
    assert list((place / "cache").iterdir()) == []
    assert len(open_split(Fake(), prepared, "test")) == 11


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_altered_pixel_is_noticed_when_its_image_is_read(prepared):
    flip_byte(folder_of(prepared) / "images.npy", -1)
    split = open_split(Fake(), prepared, "train")
    assert np.array_equal(split.read(np.arange(299)), Fake.world.images["train"][:299])
    with pytest.raises(
        ArtefactError, match=r"images.npy: the pixels of image 299 \(fake train\[299\]\) differ.*delete"
    ):
        split.read(np.array([3, 299]))


@pytest.mark.parametrize("name", ["labels.npy", "hashes.npy"])
def test_altered_labels_and_checksums_are_noticed_when_the_split_is_opened(prepared, name):
    flip_byte(folder_of(prepared) / name, -1)
    with pytest.raises(ArtefactError, match="was altered after it was written; delete the folder"):
        open_split(Fake(), prepared, "train")


@pytest.mark.parametrize("name", ["labels.npy", "hashes.npy", "images.npy"])
@pytest.mark.parametrize("damage", ["cut", "delete"])
def test_a_torn_cache_is_noticed_when_the_split_is_opened(prepared, name, damage):
    path = folder_of(prepared) / name
    path.write_bytes(path.read_bytes()[:-5]) if damage == "cut" else path.unlink()
    with pytest.raises(ArtefactError, match=f"{name}: is (missing|damaged).*delete its folder"):
        open_split(Fake(), prepared, "train")


def test_the_cache_can_be_shared_and_is_left_alone_when_it_is_there(prepared):
    folder = folder_of(prepared)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare(Fake(), prepared)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask


def test_a_failed_preparation_leaves_nothing_behind(place, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        CertflowError, match="could not be written .No space left.*free some room or set CERTFLOW_CACHE"
    ):
        prepare(Fake(), place / "fake.json")
    assert list((place / "cache").iterdir()) == []


def _prepare_tree(root: Path, manifest: Path, barrier, queue) -> None:
    barrier.wait(60)
    prepare(folder_spec(root), manifest)
    queue.put(content_digest(manifest))


def test_two_processes_may_prepare_the_same_dataset_at_once(place):
    write_tree(place / "tree")
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    arguments = (place / "tree", place / "m.json", barrier, queue)
    workers = [context.Process(target=_prepare_tree, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    digests = {queue.get() for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
        worker.close()
    queue.close()
    queue.join_thread()
    assert digests == {content_digest(place / "m.json")}
    assert len(list((place / "cache").iterdir())) == 2, "two splits, no scratch folders"
    spec = folder_spec(place / "tree")
    wanted = spec.read("train", place / "tree").read(np.arange(6))
    assert np.array_equal(open_split(spec, place / "m.json", "train").read(np.arange(6)), wanted)


# --- trees ------------------------------------------------------------------------------------------------------------


def test_a_decoded_tree_opens_without_its_source(place):
    write_tree(place / "tree")
    spec, manifest = folder_spec(place / "tree"), place / "m.json"
    prepare(spec, manifest)
    source = spec.read("train", place / "tree")
    wanted = source.read(np.arange(6))
    shutil.rmtree(place / "tree")
    split = open_split(spec, manifest, "train")
    assert isinstance(split, CachedSplit)
    assert np.array_equal(split.read(np.arange(6)), wanted)
    assert split.describe(4) == "train/b/1.png"


def test_a_streaming_tree_reads_its_files_and_checks_each(place):
    write_tree(place / "tree")
    spec, manifest = folder_spec(place / "tree", stream=True), place / "m.json"
    prepare(spec, manifest)
    split = open_split(spec, manifest, "train")
    assert isinstance(split, TreeSplit)
    wanted = folder_spec(place / "tree").read("train", place / "tree").read(np.arange(6))
    assert np.array_equal(split.read(np.arange(6)), wanted)
    assert np.array_equal(split.labels, [0, 0, 0, 1, 1, 1])
    path = place / "tree/train/b/1.png"
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=f"{path}: differs from the file that was prepared"):
        split.read(np.array([4]))
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: cannot be read"):
        split.read(np.array([4]))
    shutil.rmtree(place / "tree")
    with pytest.raises(
        DataError, match="tree: not found; a dataset of kind image_folder needs the folder of image files"
    ):
        open_split(spec, manifest, "train")


def test_a_streaming_tree_whose_list_is_gone_must_be_the_same_again(place):
    write_tree(place / "tree")
    spec, manifest = folder_spec(place / "tree", stream=True), place / "m.json"
    prepare(spec, manifest)
    shutil.rmtree(place / "cache")
    assert len(open_split(spec, manifest, "test")) == 6
    shutil.rmtree(place / "cache")
    shutil.rmtree(place / "tree")
    write_tree(place / "tree", changed=1)
    with pytest.raises(DataError, match="source files are not those of the manifest"):
        open_split(spec, manifest, "test")


def test_a_tampered_list_of_files_is_noticed(place):
    write_tree(place / "tree")
    for stream in (False, True):
        spec, manifest = folder_spec(place / "tree", stream=stream), place / f"{stream}.json"
        prepare(spec, manifest)
        flip_byte(folder_of(manifest) / "files.npy", -1)
        with pytest.raises(ArtefactError, match="was altered"):
            open_split(spec, manifest, "train")


def test_trees_with_equal_pixels_share_a_content_but_not_a_list_of_files(place):
    write_tree(place / "one")
    write_tree(place / "two")
    for path in (place / "two").rglob("*.png"):
        path.rename(path.with_name(f"x{path.name}"))
    for name in ("one", "two"):
        prepare(folder_spec(place / name), place / f"{name}.json")
    assert content_digest(place / "one.json") == content_digest(place / "two.json")
    assert open_split(folder_spec(place / "two"), place / "two.json", "train").describe(0) == "train/a/x0.png"
    assert open_split(folder_spec(place / "one"), place / "one.json", "train").describe(0) == "train/a/0.png"
