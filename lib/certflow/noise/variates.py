"""Single uniform variates from the counter-based generator, without torch: one coin per image, kept for good.

The definition is `certflow.noise.philox`'s (Philox4x32-10, key = halves of the seed, counter = (group, draw, image, stream)) in
numpy's 64-bit integers, for the few numbers that are drawn where no torch is loaded.
"""

import numpy as np

MASK = np.uint64(0xFFFFFFFF)
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
SHIFT = np.uint64(32)


def philox_words(
    image: np.ndarray, *, seed: int, stream: int, draw: int | np.ndarray = 0, group: int | np.ndarray = 0
) -> np.ndarray:
    """uint64 [*images, 4]: the four 32-bit words of counter (group, draw, image, stream) for each image.

    image: whole numbers in [0, 2**32) of any shape, which draw and group, below 2**32, broadcast to; seed in [0, 2**64).
    ValueError for image and seed outside.
    """
    image = np.asarray(image)
    if image.size and not (0 <= image.min() and image.max() < 1 << 32):
        raise ValueError(f"image: numbers must lie in [0, 2**32), got {image.min()} to {image.max()}")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    c0, c1, c2, c3 = (
        np.broadcast_to(np.asarray(word).astype(np.uint64), image.shape) for word in (group, draw, image, stream)
    )
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(ROUNDS):
        p, q = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (q >> SHIFT) ^ c1 ^ np.uint64(keys[0]),
            q & MASK,
            (p >> SHIFT) ^ c3 ^ np.uint64(keys[1]),
            p & MASK,
        )
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, INCREMENTS, strict=True)]
    return np.stack([c0, c1, c2, c3], axis=-1)


def image_uniforms(image: np.ndarray, *, seed: int, stream: int) -> np.ndarray:
    """float64 [images, 4]: u = (word + 1) / 2**32 in (0, 1], four independent ones per image.

    On this lattice u is a uniform variate rounded up, which for a randomised bound is the safe direction.
    """
    return (philox_words(image, seed=seed, stream=stream).astype(np.float64) + 1.0) * 2.0**-32
