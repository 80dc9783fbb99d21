"""Single variates: the same words as the generator of the noise, in another library."""

import numpy as np
import pytest
import torch
from scipy import stats

from certflow.noise import Stream, philox
from certflow.noise.base import Key
from certflow.noise.variates import image_uniforms, philox_words

IMAGES = np.array([0, 1, 7, 99_999, 2**32 - 1])


@pytest.mark.parametrize("seed", [0, 1, 0x0123456789ABCDEF, 2**64 - 1])
@pytest.mark.parametrize("stream", [Stream.SELECTION, Stream.BOUND])
def test_words_are_those_of_the_noise(seed, stream):
    image = torch.from_numpy(IMAGES)
    for draw in (0, 5):
        theirs = philox.words(12, Key.of(image, draw, seed=seed, stream=stream)).numpy()  # [images, 4, groups]
        for group in (0, 2):
            ours = philox_words(IMAGES, seed=seed, stream=stream, draw=draw, group=group)
            np.testing.assert_array_equal(ours.astype(np.int64), theirs[:, :, group])


def test_known_answers_of_the_paper():
    word = 0xFFFFFFFF
    found = philox_words(np.array([word]), seed=2**64 - 1, stream=word, draw=word, group=word)
    assert [f"{value:08x}" for value in found[0]] == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]
    assert [f"{value:08x}" for value in philox_words(np.array([0]), seed=0, stream=0)[0]] == [
        "6627e8d5",
        "e169c58d",
        "bc57ac4c",
        "9b00dbd8",
    ]


def test_variates_are_uniform_on_the_half_open_interval():
    u = image_uniforms(np.arange(50_000), seed=3, stream=Stream.BOUND)
    assert u.shape == (50_000, 4) and 0 < u.min() and u.max() <= 1
    for lane in u.T:
        assert stats.kstest(lane, "uniform").pvalue > 1e-6
    assert np.abs(np.corrcoef(u.T) - np.eye(4)).max() < 0.03
    np.testing.assert_array_equal(u[[17, 5]], image_uniforms(np.array([17, 5]), seed=3, stream=Stream.BOUND))
    words = philox_words(np.arange(50_000), seed=3, stream=Stream.BOUND)
    np.testing.assert_array_equal(u * 2.0**32, words + 1.0)  # rounded up on the lattice, and by no more
    assert (u != image_uniforms(np.arange(50_000), seed=4, stream=Stream.BOUND)).mean() > 0.999


def test_no_images_have_no_variates():
    assert image_uniforms(np.array([], np.int64), seed=0, stream=4).shape == (0, 4)


def test_refuses_what_does_not_fit_the_counter():
    for wrong in (2**32, -1):
        for images in ([wrong], [5, wrong, 7]):
            with pytest.raises(ValueError, match="image: numbers"):
                image_uniforms(np.array(images), seed=0, stream=4)
    with pytest.raises(ValueError, match="seed must lie"):
        image_uniforms(np.array([1]), seed=2**64, stream=4)
