"""What every dataset promises before anything is read, and what reading gives where it needs no files."""

import numpy as np
import pytest
from catalogue import file_of, small
from pydantic import ValidationError

from certflow.kinds.registry import kinds, spec_class

KINDS = kinds("dataset")


def without_files(kind: str) -> bool:
    """Whether the kind makes its images itself, and so takes no `root`."""
    try:
        spec_class("dataset", kind).small(root="/somewhere")
    except ValidationError:
        return True
    return False


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """A folder without any data."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_it_states_its_facts_without_reading_anything(kind):
    spec = small("dataset", kind)
    info = spec.info()
    assert info.dim == np.prod(info.shape) and info.classes >= 2
    if info.item.name == "pixels":
        channels, _, _ = info.shape
        assert channels in (1, 3)
    else:
        (length,) = info.shape
        assert length >= 1 and info.vocabulary > 2 and info.mean is None and info.augmentation == "none"
    assert (info.mean is None) == (info.sd is None)
    if info.mean is not None:
        assert len(info.mean) == len(info.sd) == info.shape[0]
        assert all(0 < m < 1 for m in info.mean) and all(s > 0 for s in info.sd)
    assert info.size is None or set(info.size) == set(spec.splits())
    assert info.streams or info.augmentation != "resized_crop_flip"


@pytest.mark.parametrize("kind", KINDS)
def test_the_root_is_a_place_and_not_an_identity(kind):
    spec = small("dataset", kind)
    assert not {"root", "download"} & set(spec.canonical())
    if not without_files(kind):
        assert small("dataset", kind, root="/somewhere").digest() == spec.digest()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if without_files(kind)])
def test_images_that_need_no_files_are_what_was_stated(kind, tmp_path):
    spec = small("dataset", kind)
    info = spec.info()
    for name in spec.splits():
        split, again = spec.read(name, tmp_path), spec.read(name, tmp_path)
        assert len(split) == len(split.labels) > 0 and split.labels.dtype == np.int64, file_of("dataset", kind)
        assert info.size is None or info.size[name] == len(split)
        assert split.labels.min() >= 0 and split.labels.max() < info.classes
        index = np.arange(len(split))[:: max(1, len(split) // 50)]
        images = split.read(index)
        assert images.shape == (len(index), *info.shape) and images.dtype == info.item.stored
        assert np.array_equal(images, again.read(index)) and np.array_equal(split.labels, again.labels)
        assert np.array_equal(split.read(index[::-1]), images[::-1])
        assert isinstance(split.describe(0), str) and split.describe(0) != split.describe(1)
