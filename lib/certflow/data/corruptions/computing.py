"""Corruptions that need no files: eight simple ones of the CIFAR-10-C benchmark, computed from the clean image.

Laws and strengths are those of the script that made CIFAR-10-C (`hendrycks/robustness`, Hendrycks and Dietterich 2019); random
numbers are our own, keyed by corruption, severity and image. As there, results are clipped to [0,1] and cut off to bytes.
"""

import hashlib
from collections.abc import Callable
from io import BytesIO

import numpy as np

Corrupt = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
"""(uint8 [channels, height, width], strength, random numbers) → the same, corrupted."""


def bytes_of(x: np.ndarray) -> np.ndarray:
    """uint8 of values clipped to [0,1], rounded down as in the published files; 1e-9 below a whole number counts as that."""
    return np.floor(np.clip(x, 0, 1) * 255 + 1e-9).astype(np.uint8)


def gaussian_noise(image: np.ndarray, sd: float, random: np.random.Generator) -> np.ndarray:
    """x + N(0, sd²) in each coordinate."""
    return bytes_of(image / 255 + sd * random.standard_normal(image.shape))


def shot_noise(image: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    """Poisson(photons · x) / photons in each coordinate."""
    return bytes_of(random.poisson(image / 255 * photons) / photons)


def impulse_noise(image: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A share of the coordinates, chosen at random, becomes 0 or 1 with probability ½ each."""
    hit, white = random.random(image.shape) < share, random.random(image.shape) < 0.5
    return np.where(hit, np.where(white, 255, 0), image).astype(np.uint8)


def gaussian_blur(image: np.ndarray, sd: float, random: np.random.Generator) -> np.ndarray:
    """Convolution with a Gaussian of `sd` pixels, cut at four, the border pixels continued outwards."""
    from scipy.ndimage import gaussian_filter

    return bytes_of(gaussian_filter(image / 255, (0, sd, sd), mode="nearest", truncate=4.0))


def brightness(image: np.ndarray, shift: float, random: np.random.Generator) -> np.ndarray:
    """The largest channel V of each pixel becomes V + shift (at most 1), hue and saturation stay (HSV)."""
    x = image / 255
    value = x.max(axis=0, keepdims=True)
    brighter = np.minimum(value + shift, 1)
    return bytes_of(np.where(value > 0, x / np.where(value > 0, value, 1), 1) * brighter)


def contrast(image: np.ndarray, factor: float, random: np.random.Generator) -> np.ndarray:
    """Deviations from each channel's mean over the image are multiplied by `factor`."""
    x = image / 255
    mean = x.mean(axis=(1, 2), keepdims=True)
    return bytes_of((x - mean) * factor + mean)


def pixelate(image: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    """Made smaller by `scale` and large again, by area averages both times."""
    from PIL import Image

    picture = _picture(image)
    small = (int(picture.width * scale), int(picture.height * scale))
    return _pixels(picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))


def jpeg_compression(image: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    """Stored as JPEG of that quality and read back."""
    from PIL import Image

    buffer = BytesIO()
    _picture(image).save(buffer, "JPEG", quality=int(quality))
    return _pixels(Image.open(buffer))


CORRUPTIONS: dict[str, tuple[Corrupt, tuple[float, float, float, float, float]]] = {
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "gaussian_blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "gaussian_noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "jpeg_compression": (jpeg_compression, (80, 65, 58, 50, 40)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50)),
}
"""Name → function, and its strength at severities 1 to 5."""


def corrupt(image: np.ndarray, name: str, severity: int, number: int) -> np.ndarray:
    """The corrupted copy, uint8 [channels, height, width], of the test image with that number: the same at every call."""
    function, strengths = CORRUPTIONS[name]
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.Generator(np.random.Philox(key=word, counter=[0, 0, severity, number]))
    return function(image, strengths[severity - 1], random)


def _picture(image: np.ndarray):
    from PIL import Image

    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _pixels(picture) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
