"""Texts beside images: stored as what they are, told apart by their type, and refused by whatever works on pixels alone."""

from typing import Literal

import numpy as np
import pytest
import torch

from certflow.data.base import DataInfo, DatasetSpec
from certflow.data.batches import batches
from certflow.data.items import counting, network_input
from certflow.data.splits import ArraySplit
from certflow.data.store import content_digest, open_split, prepare
from certflow.errors import DataError
from certflow.kinds.registry import kinds, spec_class
from certflow.noise.base import Key
from certflow.training.possible import require_possible

LENGTH, VOCABULARY = 6, 70_000
WORDS = np.random.default_rng(0).integers(1, VOCABULARY, (20, LENGTH), dtype=np.int32) * (np.arange(LENGTH) < 4)


class Texts(DatasetSpec):
    kind: Literal["texts"] = "texts"
    words: int = VOCABULARY

    def info(self):
        return DataInfo(classes=2, shape=(LENGTH,), vocabulary=self.words)

    def read(self, split, root):
        return ArraySplit(WORDS.astype(np.int32), np.arange(20) % 2, f"texts {split}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def opened(place, **settings):
    prepare(Texts(**settings), place / "texts.json")
    return open_split(Texts(**settings), place / "texts.json", "train")


def test_texts_are_stored_and_come_as_tokens_in_batches(place):
    split = opened(place)
    assert np.array_equal(split.read(np.array([3, 1])), WORDS[[3, 1]])
    (index, x, y), *_ = batches(split, device="cpu", batch=8, seed=0, augmentation="none").epoch(0)
    assert x.dtype == torch.int64 and np.array_equal(x, WORDS[index]) and np.array_equal(y, index % 2)
    assert torch.equal(counting(x), torch.arange(LENGTH).expand(8, LENGTH) < 4)


def test_the_vocabulary_is_part_of_the_content(place):
    opened(place)
    first = content_digest(place / "texts.json", "train")
    opened(place, words=VOCABULARY + 1)
    assert content_digest(place / "texts.json", "train") != first


def test_a_token_outside_the_vocabulary_is_refused(place):
    with pytest.raises(DataError, match=r"holds token \d+, but the vocabulary has the tokens 0 to 4999"):
        opened(place, words=5000)


def test_bytes_are_pixels_and_whole_numbers_tokens():
    x = network_input(torch.tensor([[0, 255]], dtype=torch.uint8))
    assert x.tolist() == [[0.0, 1.0]] and counting(x) is None
    assert network_input(torch.tensor([[0, 255]], dtype=torch.int32)).dtype == torch.int64


def test_no_noise_leaves_texts_as_they_are():
    rows = torch.arange(3)
    copies = spec_class("noise", "none")().copies(torch.from_numpy(WORDS[:3]), Key(rows, rows, seed=0, stream=0))
    assert np.array_equal(copies, WORDS[:3])


@pytest.mark.parametrize("kind", ["stability", "smoothadv", "external"])
def test_methods_for_pixels_refuse_texts(kind):
    assert spec_class("method", kind).item_problems("tokens") == [f"{kind} works on pixels; these data are tokens"]


def test_training_under_noise_is_refused(place):
    split, noise = opened(place), spec_class("noise", "gaussian")(sigma=0.5)
    with pytest.raises(ValueError, match="gaussian works on pixels; these data are tokens"):
        require_possible(spec_class("method", "gaussian").small(epochs=1), noise, split, split, {})


def test_certificates_noise_and_corruptions_are_of_pixels():
    families = ("certificate", "sampler", "corruption", "denoiser")
    assert not [(f, k) for f in families for k in kinds(f) if "tokens" in spec_class(f, k).accepts]
    assert [kind for kind in kinds("noise") if "tokens" in spec_class("noise", kind).accepts] == ["none"]
