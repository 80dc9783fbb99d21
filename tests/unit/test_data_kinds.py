"""The kinds with fixed content: digits and the CIFARs; and what every kind promises before anything is read."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from certflow.data.kinds.cifar10 import Cifar10
from certflow.data.kinds.cifar100 import Cifar100
from certflow.data.kinds.digits import Digits
from certflow.data.source import md5, missing
from certflow.data.store import content_digest, open_split, prepare
from certflow.errors import DataError

# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn_rescaled_and_split_by_a_walk_over_them():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    wanted = {"train": ([], []), "test": ([], [])}
    seen = [0] * 10
    for image, label in zip(bunch.images, bunch.target, strict=True):
        seen[label] += 1
        images, labels = wanted["test" if seen[label] % 4 == 0 else "train"]
        images.append([[round(255 * v / 16) for v in row] for row in image])
        labels.append(label)
    for name, (images, labels) in wanted.items():
        split = Digits().read(name, Path())
        assert len(split) == Digits().info().size[name] == len(labels)
        assert split.images.dtype == np.uint8
        assert np.array_equal(split.images[:, 0], images)
        assert np.array_equal(split.labels, labels)


def test_digits_keep_the_shares_of_the_classes():
    for name, share in (("train", 0.75), ("test", 0.25)):
        counts = np.bincount(Digits().read(name, Path()).labels)
        total = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
        assert np.all(np.abs(counts - share * total) < 1)


def test_digits_have_a_fixed_content(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    prepare(Digits(), tmp_path / "digits.json")
    assert (
        content_digest(tmp_path / "digits.json") == "b2b9dbe6a582571f2c2f36ae97b6fe12e87148554a0791aac214432117eabdf9"
    )
    assert open_split(Digits(), tmp_path / "digits.json", "test").describe(3) == "digits test[3]"


@pytest.mark.parametrize("wrong", [{"root": "/x"}, {"download": True}])
def test_digits_take_no_place(wrong):
    with pytest.raises(ValidationError, match="come with scikit-learn"):
        Digits(**wrong)


# --- CIFAR: tiny batches in the real format, known to torchvision's own class by their checksums ----------------------


def write_cifar(root: Path, reader: type, monkeypatch, label_key: str, classes: int) -> dict[str, dict]:
    """Pickled batches of 6 images each; returns their content by file name."""
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    content = {}
    for name, _ in [*reader.train_list, *reader.test_list]:
        data = rng.integers(0, 256, (6, 3072), dtype=np.uint8)
        content[name] = {"data": data, label_key: rng.integers(0, classes, 6).tolist()}
        (folder / name).write_bytes(pickle.dumps(content[name]))
    meta = {reader.meta["key"]: [f"class{i}" for i in range(classes)]}
    (folder / reader.meta["filename"]).write_bytes(pickle.dumps(meta))
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(reader, attribute)]
        monkeypatch.setattr(reader, attribute, [[name, md5(folder / name)] for name in names])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5(folder / reader.meta["filename"])})
    return content


@pytest.fixture(params=[Cifar10, Cifar100])
def cifar(request, tmp_path, monkeypatch):
    import torchvision.datasets

    kind = request.param
    reader = getattr(torchvision.datasets, kind.torchvision_class)
    key = "labels" if kind is Cifar10 else "fine_labels"
    root = tmp_path / "root"
    return kind, reader, root, key, write_cifar(root, reader, monkeypatch, key, kind.classes)


def test_cifar_is_what_its_batches_hold(cifar):
    kind, reader, root, key, content = cifar
    for name, files in (("train", reader.train_list), ("test", reader.test_list)):
        for place in (root, root / reader.base_folder):
            split = kind().read(name, place)
            assert split.images.flags.c_contiguous
            assert np.array_equal(
                split.images.reshape(-1, 3072), np.concatenate([content[file]["data"] for file, _ in files])
            )
            assert np.array_equal(split.labels, sum((content[file][key] for file, _ in files), []))
            assert [file.path for file in split.files] == [f"{reader.base_folder}/{file}" for file, _ in files]


def test_a_damaged_cifar_file_is_named(cifar):
    kind, reader, root, _, _ = cifar
    path = root / reader.base_folder / reader.test_list[0][0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=f"{path}: is not the published file .*damaged or truncated; unpack {reader.filename}"
    ):
        kind().read("train", root)


def test_a_missing_cifar_file_is_named_with_every_remedy(cifar):
    kind, reader, root, _, _ = cifar
    path = root / reader.base_folder / reader.meta["filename"]
    path.unlink()
    with pytest.raises(DataError) as caught:
        kind().read("train", root)
    for part in (path, reader.filename, "datasets.<name>.root", "CERTFLOW_DATA", "download: true"):
        assert str(part) in str(caught.value)


def test_a_relative_root_is_told_with_the_working_directory_that_it_was_looked_for_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = f"data/cifar10: not found in the working directory {tmp_path}; a dataset of kind cifar10 needs"
    assert str(missing(Cifar10(), Path("data/cifar10"), "the archive")).startswith(told)
    assert str(missing(Cifar10(), tmp_path, "the archive")).startswith(f"{tmp_path}: not found; a dataset")


def test_an_archive_that_lies_there_is_unpacked_where_downloads_are_allowed(cifar, tmp_path, monkeypatch):
    kind, reader, root, key, content = cifar
    other = tmp_path / "other"
    other.mkdir()
    with tarfile.open(other / reader.filename, "w:gz") as archive:
        archive.add(root / reader.base_folder, reader.base_folder)
    monkeypatch.setattr(reader, "tgz_md5", md5(other / reader.filename))
    with pytest.raises(DataError, match="not found"):
        kind().read("test", other)
    split = kind(download=True).read("test", other)
    assert np.array_equal(split.labels, content[reader.test_list[0][0]][key])


def test_cifar_constants_are_those_of_the_field():
    assert Cifar10().info().mean == (0.4914, 0.4822, 0.4465) and Cifar10().info().sd == (0.2023, 0.1994, 0.2010)
    assert Cifar100().info().mean == (0.5071, 0.4867, 0.4408) and Cifar100().info().sd == (0.2675, 0.2565, 0.2761)
    assert Cifar10().info().augmentation == "crop_flip"
