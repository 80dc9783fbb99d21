"""Checks of the arguments of double sampling; messages name the value that is wrong."""

import numpy as np
from numpy.typing import ArrayLike

Q_KINDS = ("scaled", "truncated", "pooled")
"""Kinds of second laws."""


def probabilities(**given: ArrayLike) -> list[np.ndarray]:
    """Vectors of equal length in [0, 1] as float64; of `pa_low`/`pa_high` and the like the first may not exceed the second."""
    vectors, length = {}, None
    for name, value in given.items():
        vector = np.atleast_1d(np.asarray(value))
        if vector.size == 0:
            vector = vector.astype(np.float64)
        if vector.ndim != 1 or vector.dtype.kind not in "iuf":
            raise ValueError(f"{name}: must be a vector of numbers, got shape {list(vector.shape)} of {vector.dtype}")
        bad = ~((vector >= 0) & (vector <= 1))
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(f"{name}[{row}]: must be a probability from 0 to 1, got {vector[row]}")
        if length is not None and len(vector) != length:
            raise ValueError(f"{name}: {len(vector)} images, but {length} before; all vectors need one entry per image")
        length = len(vector)
        vectors[name] = vector.astype(np.float64)
    for name, low in vectors.items():
        high = vectors.get(name.replace("_low", "_high"), low)
        if (low > high).any():
            row = int(np.argmax(low > high))
            raise ValueError(f"{name}[{row}]: the interval's lower end {low[row]} is above its upper end {high[row]}")
    return list(vectors.values())


def q_parameters(q_kind: str, q_param: ArrayLike, images: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """b = sigma/beta (scaled), p_T (truncated) or 1 (pooled), float64 [images], and where Q is P itself, bool [images]."""
    if q_kind not in Q_KINDS:
        raise ValueError(f"q_kind: no second distribution {q_kind!r}; known: {', '.join(Q_KINDS)}")
    if q_kind == "pooled":
        return np.ones(images), np.ones(images, bool)
    given = np.asarray(q_param)
    if given.size == 0:
        given = given.astype(np.float64)
    if given.dtype.kind not in "iuf" or given.ndim > 1 or (given.ndim == 1 and len(given) != images):
        raise ValueError(f"q_param: must be a number, or one per image ({images}), got shape {list(given.shape)}")
    values = np.broadcast_to(given, (images,)).astype(np.float64)
    good = np.isfinite(values) & (values > 0) & ((values <= 1) if q_kind == "truncated" else True)
    if not good.all():
        allowed = "a share of P in (0, 1]" if q_kind == "truncated" else "a scale beta, finite and above 0"
        raise ValueError(f"q_param: {q_kind} needs {allowed}, got {values[~good][0]}")
    values = values if q_kind == "truncated" else sigma / values
    return values, values == 1
