"""Philox4x32-10 in plain torch integers: random numbers as a pure function of (seed, stream, image, draw, element).

A counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") has no state, so a draw does
not depend on the batch it sits in, on the order of work, on the device's launch geometry or on a restart. The same lines
run on CPU and CUDA, eagerly and compiled, and give the same integers; on a CPU with a C compiler `certflow.noise.fast.native`
computes the same uniforms faster, on CUDA `certflow.noise.fast.jit` does.

Layout. One image has d elements and n4 = ceil(d/4) groups. The key is (low, high) half of the 64-bit seed; the counter is
(group, draw, image, stream). Element e is lane e // n4 of group e % n4: planar, so that nothing is interleaved. The last
groups, 2**32 - 1 and before, belong to no element of any image: `wide_uniforms`, single numbers for a draw, come from there.

Numbers are 32-bit unsigned, held in int64. Products wrap modulo 2**64 and are masked when they are next multiplied.
"""

import math

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from certflow.noise.base import Key
from certflow.noise.fast import jit, native
from certflow.noise.fast.native import Form

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

WIDE_GROUP = MASK
"""The group of the first of the `wide_uniforms`."""
LARGEST_UNIFORM = 1 - 2.0**-24
"""The largest float32 below 1."""
CPU_BLOCK = 1 << 16
"""Groups worked on at a time on the CPU: larger blocks fall out of a core's cache, smaller ones pay for torch's calls."""
CUDA_BLOCK = 1 << 24
"""Groups worked on at a time on other devices: bounds the temporaries to about 1 GB."""

Counter = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Counter, key: tuple[int, int]) -> Counter:
    """The four 32-bit output words, as int64 of the common shape, for counters of broadcastable shapes (int64, < 2**32).

    Shapes grow only as the rounds mix the words: counters (group [1, g], draw [r, 1], image [r, 1], stream [1, 1]) cost
    two rounds less than ten full ones.
    """
    words = counter
    for number in range(ROUNDS):
        words = _round(words, _round_key(key, number))
    c0, c1, c2, c3 = torch.broadcast_tensors(*words)
    return c0, c1 & MASK, c2, c3 & MASK


def words(d: int, key: Key) -> Int64[Tensor, "rows 4 groups"]:
    """The 32-bit words behind the d elements of each row's image, one plane per lane."""
    _check(key)
    groups = -(-d // 4)
    out = torch.empty(len(key.image), 4, groups, dtype=torch.int64, device=key.image.device)
    for rows in _blocks(key.image, groups):
        for lane, word in enumerate(_words(groups, key.part(rows))):
            out[rows, lane] = word
    return out


def integers(d: int, key: Key, *, high: int) -> Int64[Tensor, "rows {d}"]:
    """Integers in [0, high), uniform up to a relative error of high / 2**32 per value. `high`: at most 2**31."""
    if not 1 <= high <= 1 << 31:
        raise ValueError(f"high: must be between 1 and 2**31, got {high}")
    drawn = words(d, key).flatten(1)[:, :d]
    return (drawn * high) >> 32


def uniforms(d: int, key: Key) -> Float32[Tensor, "rows {d}"]:
    """u = (word + 1/2) / 2**32 in float32, at most 1 - 2**-24: in (0, 1), with 32 bits of resolution near 0."""
    return _floats("uniforms", d, key)


def signed(d: int, key: Key) -> Float32[Tensor, "rows {d}"]:
    """±v with v = (m + 1/2) / 2**31 in float32, at most 1 - 2**-24: the top bit is the sign, the other 31 bits are m.

    Uniform on (-1, 1), exactly as likely on either side, with 31 bits of resolution near 0.
    """
    return _floats("signed", d, key)


def normals(d: int, key: Key) -> Float32[Tensor, "rows {d}"]:
    """Standard normal values by Box and Muller's transform, lanes (0, 1) and (2, 3) of a group in pairs.

    Lanes 0, 1 are sqrt(-2 ln u0) (cos, sin)(2 pi u1), lanes 2, 3 the same of (u2, u3). Values reach 6.76; the total
    variation distance to a true Gaussian is about 1.3e-11 per element (4e-8 for a 3,072-pixel image).
    """
    _check(key)
    if torch.compiler.is_compiling():
        u0, u1, u2, u3 = _lanes("uniforms", d, key)
        return torch.stack((*_box_muller(u0, u1), *_box_muller(u2, u3)), 1).flatten(1)[:, :d]
    out = _empty(d, key)
    for rows in _blocks(key.image, out.shape[2]):
        part = out[rows]
        u, v = (part.new_empty(len(part), 2, out.shape[2]) for _ in range(2))
        _fill("uniforms", [u[:, 0], v[:, 0], u[:, 1], v[:, 1]], key.part(rows))
        _box_muller_(u, v, part[:, 0::2], part[:, 1::2])
    return out.flatten(1)[:, :d]


def wide_uniforms(key: Key, number: int = 0) -> Float64[Tensor, " rows"]:
    """One float64 per row: u = (n + 1/2) / 2**52 exactly, n the upper 52 bits of the first two words of a group.

    number: from 0, which of a draw's wide variates; its group is that far before the last. No element of an image has these
    words, so that all of them are independent.
    """
    _check(key)
    image, draw, stream = key.image, key.draw, int(key.stream)
    out = torch.empty(len(image), dtype=torch.float64, device=image.device)
    native_too = image.device.type == "cpu" and not torch.compiler.is_compiling()
    if native_too and native.fill_wide_uniforms(out, WIDE_GROUP - number, image, draw, key.seed, stream):
        return out
    group = torch.full_like(image, WIDE_GROUP - number)
    words = jit.words((group, draw, image), key.halves, stream)
    high, low, _, _ = words or philox((group, draw, image, torch.full_like(image, stream)), key.halves)
    return ((high << 20 | low >> 12).double() + 0.5) * 2.0**-52


def _box_muller(u: Float32[Tensor, "*shape"], v: Float32[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
    """sqrt(-2 ln u) times cosine and sine of 2 pi v."""
    radius, angle = torch.sqrt(torch.log(u) * -2), v * (2 * math.pi)
    return torch.cos(angle) * radius, torch.sin(angle) * radius


def _box_muller_(u: Float32[Tensor, "*shape"], v: Float32[Tensor, "*shape"], cosine: Tensor, sine: Tensor) -> None:
    """`_box_muller` into `cosine` and `sine`, destroying `u` and `v`."""
    radius, angle = u.log_().mul_(-2).sqrt_(), v.mul_(2 * math.pi)
    torch.mul(torch.sin(angle), radius, out=sine)
    torch.mul(angle.cos_(), radius, out=cosine)


def _round_key(key: tuple[int, int], number: int) -> tuple[int, int]:
    return (key[0] + number * INCREMENTS[0]) & MASK, (key[1] + number * INCREMENTS[1]) & MASK


def _round(words: Counter, key: tuple[int, int]) -> Counter:
    """One round. Words 1 and 3 leave it with garbage above bit 31: they are only ever xor-ed and then masked."""
    c0, c1, c2, c3 = words
    p, q = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
    return ((q >> 32) ^ (c1 ^ key[0])) & MASK, q, ((p >> 32) ^ (c3 ^ key[1])) & MASK, p


def _round_(words: Counter, key: tuple[int, int], high: Tensor) -> Counter:
    """`_round` without allocations, destroying its input; `high` is scratch memory. All five of one shape."""
    c0, c1, c2, c3 = words
    p, q = c0.mul_(MULTIPLIERS[0]), c2.mul_(MULTIPLIERS[1])
    torch.bitwise_right_shift(q, 32, out=high)
    c1.bitwise_xor_(high).bitwise_xor_(key[0]).bitwise_and_(MASK)
    torch.bitwise_right_shift(p, 32, out=high)
    c3.bitwise_xor_(high).bitwise_xor_(key[1]).bitwise_and_(MASK)
    return c1, q, c3, p


def _words(groups: int, key: Key) -> Counter:
    """Words [rows, groups] of the four lanes."""
    image, draw, stream = key.image[:, None], key.draw[:, None], int(key.stream)
    group = torch.arange(groups, device=image.device)[None, :]
    made = jit.words((group, draw, image), key.halves, stream)
    if made is not None:
        return made
    if torch.compiler.is_compiling():
        group = group & MASK  # else it multiplies its own loop index, in 32 bits on a GPU, where the products need 64
    counter: Counter = (group, draw, image, torch.full_like(group[:, :1], stream))
    if image.device.type != "cpu" or torch.compiler.is_compiling():
        return philox(counter, key.halves)
    for number in range(2):
        counter = _round(counter, _round_key(key.halves, number))
    shape = (len(image), groups)
    c0, c1, c2, c3 = (word.expand(shape).contiguous() for word in counter)
    full = c0, c1, c2, c3
    high = torch.empty(shape, dtype=torch.int64)
    for number in range(2, ROUNDS):
        full = _round_(full, _round_key(key.halves, number), high)
    full[1].bitwise_and_(MASK)
    full[3].bitwise_and_(MASK)
    return full


def _floats(form: Form, d: int, key: Key) -> Float32[Tensor, "rows {d}"]:
    """One of `FORMS` of the words of the d elements of each row's image."""
    _check(key)
    if torch.compiler.is_compiling():
        return torch.stack(_lanes(form, d, key), 1).flatten(1)[:, :d]
    out = _empty(d, key)
    for rows in _blocks(key.image, out.shape[2]):
        _fill(form, list(out[rows].unbind(1)), key.part(rows))
    return out.flatten(1)[:, :d]


def _lanes(form: Form, d: int, key: Key) -> tuple[Tensor, ...]:
    """Values float32 [rows, groups] of the four lanes, for the compiler."""
    return tuple(FORMS[form](word) for word in _words(-(-d // 4), key))


def _fill(form: Form, lanes: list[Float32[Tensor, "rows groups"]], key: Key) -> None:
    """Write the values of the four lanes into tensors of equal strides."""
    image, draw, stream = key.image, key.draw, int(key.stream)
    if image.device.type == "cpu" and native.fill_floats(form, lanes, image, draw, key.seed, stream):
        return
    group = torch.arange(lanes[0].shape[1], device=image.device)[None, :]
    made = jit.values(form, (group, draw[:, None], image[:, None]), key.halves, stream)
    if made is None:
        made = map(FORMS[form], _words(lanes[0].shape[1], key))
    for lane, values in zip(lanes, made, strict=True):
        lane.copy_(values)


def _to_uniform(words: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    return words.float().add_(0.5).mul_(2.0**-32).clamp_(max=LARGEST_UNIFORM)


def _to_signed(words: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    size = (words & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31).clamp_(max=LARGEST_UNIFORM)
    return torch.where(words >> 31 == 1, -size, size)


FORMS = {"uniforms": _to_uniform, "signed": _to_signed}
"""From words to variates. C and CUDA do the same (philox.c, jit.py)."""


def _empty(d: int, key: Key) -> Float32[Tensor, "rows 4 groups"]:
    return torch.empty(len(key.image), 4, -(-d // 4), dtype=torch.float32, device=key.image.device)


def _blocks(image: Tensor, groups: int) -> list[slice]:
    """Slices of rows that bound the temporaries."""
    limit = CPU_BLOCK if image.device.type == "cpu" else CUDA_BLOCK
    step = max(1, limit // max(groups, 1))
    return [slice(start, start + step) for start in range(0, len(image), step)]


def _check(key: Key) -> None:
    image, draw = key.image, key.draw
    if image.dim() != 1 or image.shape != draw.shape or not image.dtype == draw.dtype == torch.int64:
        raise ValueError(
            f"image and draw must be two int64 vectors of one length, got {image.dtype} {list(image.shape)} and "
            f"{draw.dtype} {list(draw.shape)}"
        )
    if not 0 <= key.seed < 1 << 64:
        raise ValueError(f"seed must lie in [0, 2**64), got {key.seed}")
