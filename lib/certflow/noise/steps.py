"""Drawing whole numbers from Philox by inversion, such as Gaussian noise in grey levels (`certflow.noise.grid`): integers only,
the same on every device.

Layout. Element e has the lane and the group of `certflow.noise.philox`. The leading 32 bits of its 62-bit u are that lane's
word of counter (group, draw, image, stream + 2**31), the other 30 the leading bits of the same lane's word of counter (group,
draw, image, stream + 2**31 + 2**30): no counter is shared with noise in floats, and the second word is needed for few values.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from certflow.noise import grid
from certflow.noise.base import Key
from certflow.noise.fast import native
from certflow.noise.grid import HIGH_STREAM, LOW_STREAM
from certflow.noise.philox import MASK, Counter, _blocks, _check, _words, philox

LOW_BITS = grid.BITS - 32

Law = tuple[Callable[[Any], Int64[np.ndarray, " limits"]], Any]
"""Thresholds of a law of whole numbers, as a function and its argument: (`grid.thresholds`, sigma)."""

_made: dict[tuple[Law, str], tuple[Tensor, Tensor, Tensor]] = {}


def steps(d: int, key: Key, *, sigma: float) -> Int16[Tensor, "rows {d}"]:
    """Noise of standard deviation sigma (in [0,1]-pixel units) in grey levels: whole numbers, |t| <= `grid.reach(sigma)`.

    Row r depends on the seed, the stream, image[r] and draw[r] alone. To be compiled only after a first call, which makes the
    tables of sigma.
    """
    return inverted(d, key, (grid.thresholds, sigma))


def inverted(d: int, key: Key, law: Law) -> Int16[Tensor, "rows {d}"]:
    """#{i: T_i <= u} - floor(len(T) / 2) for u uniform on the integers from 0 to 2**62 - 1 and the thresholds T of a law.

    T: increasing int64, at most 2**16 - 2 of them.
    """
    _check(key)
    groups, device = -(-d // 4), key.image.device
    if torch.compiler.is_compiling():
        return _searched(groups, key, law).to(torch.int16).flatten(1)[:, :d]
    out = torch.empty(len(key.image), 4, groups, dtype=torch.int16, device=device)
    if device.type != "cpu":
        for rows in _blocks(key.image, groups):
            out[rows] = _searched(groups, key.part(rows), law)
    elif not native.fill_steps(out, key.image, key.draw, key.seed, int(key.stream), *_tables(law, "cpu")):
        for rows in _blocks(key.image, groups):
            out[rows] = _looked_up(groups, key.part(rows), law)
    return out.flatten(1)[:, :d]


def _searched(groups: int, key: Key, law: Law) -> Tensor:
    """int64 [rows, 4, groups] by binary search of every value: nothing waits for the device."""
    high, low = (torch.stack(_words(groups, _offset(key, by)), 1) for by in (HIGH_STREAM, LOW_STREAM))
    limits = _tables(law, key.image.device)[0]
    return torch.bucketize(_join(high, low), limits, right=True) - len(limits) // 2


def _looked_up(groups: int, key: Key, law: Law) -> Tensor:
    """int64 [rows, 4, groups] by table, and by search where the table does not tell."""
    limits, start, high = _tables(law, "cpu")
    word = torch.stack(_words(groups, _offset(key, HIGH_STREAM)), 1)
    cell = word >> (32 - grid.CELL_BITS)
    start, high = start.long().take(cell), (high.long() & MASK).take(cell)
    count = start + (word > high)
    unsure = ((start < 0) | (word == high)).nonzero(as_tuple=True)
    row, lane, group = unsure
    counter = (group, key.draw[row], key.image[row], torch.full_like(group, key.stream + LOW_STREAM))
    count[unsure] = _compared(word[unsure], lane, counter, limits, key.halves)
    return count - len(limits) // 2


def _offset(key: Key, by: int) -> Key:
    """The same draws of a stream that no other noise uses."""
    return replace(key, stream=key.stream + by)


def _compared(word: Tensor, lane: Tensor, counter: Counter, limits: Tensor, halves: tuple[int, int]) -> Tensor:
    """#{i: T_i <= u}, int64 like `word` [values], u's leading words. The other words are drawn only where they decide."""
    leading = limits >> LOW_BITS
    count = torch.bucketize(word, leading)
    (tie,) = (leading[count.clamp(max=len(leading) - 1)] == word).nonzero(as_tuple=True)
    c0, c1, c2, c3 = (part[tie] for part in counter)
    low = torch.stack(philox((c0, c1, c2, c3), halves))
    low = low.gather(0, lane[tie][None])[0]
    count[tie] = torch.bucketize(_join(word[tie], low), limits, right=True)
    return count


def _join(high: Tensor, low: Tensor) -> Tensor:
    """u from its two words."""
    return (high << LOW_BITS) | (low >> (32 - LOW_BITS))


def _tables(law: Law, device: str | torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The thresholds int64, and `grid.index_thresholds` of them as int32 (`high` with its bits unchanged); made once for each
    device."""
    key = (law, str(device))
    if key not in _made:
        thresholds, argument = law
        limits = thresholds(argument)
        start, high = grid.index_thresholds(limits)
        first, second, third = (torch.from_numpy(array).to(device) for array in (limits, start, high.view("int32")))
        _made[key] = first, second, third
    return _made[key]
