"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), in plain torch integer operations.

One definition for every device. A number is a pure function of (seed, stream, image, draw, element), so it depends on no batch
size, order, shard, thread count or resumption. Counter = (group, draw, image, stream), key = (low, high) half of the seed.
An image of d elements takes n4 = ceil(d/4) groups; element e is lane e // n4 of group e % n4 (planar: no interleaving store).

Normals come from 32-bit uniforms by Box-Muller in float32. They never exceed 6.77, and their law differs from the normal law by
about 1e-11 in total variation per element: 4e-8 per CIFAR image, 2e-6 per ImageNet image.
"""

import math

import torch

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
BLOCK = 1 << 15
"""Groups computed at once on a CPU, so that all temporaries stay in its cache."""

Words = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four 32-bit words (int64 tensors) from four broadcastable counter words and a key of two 32-bit integers.

    64-bit products wrap around in int64; only their bits are used. Counter words that are constant along an axis are broadcast
    as late as possible: with three of the four constant, the first two rounds cost almost nothing.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p, q = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = _mix(q, c1, k0), q.bitwise_and_(MASK), _mix(p, c3, k1), p.bitwise_and_(MASK)
        k0, k1 = (k0 + INCREMENTS[0]) & MASK, (k1 + INCREMENTS[1]) & MASK
    return c0, c1, c2, c3


def _mix(product: torch.Tensor, word: torch.Tensor, key: int) -> torch.Tensor:
    """High half of a 64-bit product, xor a word, xor a key. Leaves `product` as it is."""
    high = (product >> 32).bitwise_and_(MASK).bitwise_xor_(key)
    return (
        high.bitwise_xor_(word)
        if word.numel() <= high.numel() and high.dim() == word.dim() and _fits(word, high)
        else high ^ word
    )


def _fits(word: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether `word` broadcasts to the shape of `target` without enlarging it."""
    return all(w in (1, t) for w, t in zip(word.shape, target.shape, strict=True))


def words(groups: int, image: torch.Tensor, draw: torch.Tensor, *, seed: int, stream: int) -> torch.Tensor:
    """int64 [rows, 4, groups]: the 32-bit words of `groups` consecutive counters of each (image, draw).

    image, draw: int64 [rows], values below 2**32, on the device where the result is wanted. seed: below 2**64.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be in [0, 2**64), got {seed}")
    group = torch.arange(groups, dtype=torch.int64, device=image.device)[None, :]
    last = torch.full((1, 1), int(stream), dtype=torch.int64, device=image.device)
    parts = philox((group, draw[:, None], image[:, None], last), (seed & MASK, seed >> 32))
    return torch.stack([part.expand(len(image), groups) for part in parts], dim=1)


def to_uniform(word: torch.Tensor) -> torch.Tensor:
    """float32 in (0, 1), both ends excluded, from 32-bit words."""
    return word.to(torch.float32).add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)


def uniforms(d: int, image: torch.Tensor, draw: torch.Tensor, *, seed: int, stream: int) -> torch.Tensor:
    """float32 [rows, d] of uniform variates in (0, 1)."""
    return _blocked(d, image, draw, seed, stream, to_uniform)


def normals(d: int, image: torch.Tensor, draw: torch.Tensor, *, seed: int, stream: int) -> torch.Tensor:
    """float32 [rows, d] of standard normal variates."""
    return _blocked(d, image, draw, seed, stream, _box_muller)


def _box_muller(word: torch.Tensor) -> torch.Tensor:
    """float32 [rows, 4, groups] of normals from words of the same shape; lanes (0, 1) and (2, 3) are pairs."""
    u = to_uniform(word)
    radius = u[:, 0::2].log().mul_(-2.0).sqrt_()
    angle = u[:, 1::2].mul_(2 * math.pi)
    out = torch.empty_like(u)
    torch.mul(radius, angle.cos(), out=out[:, 0::2])
    torch.mul(radius, angle.sin(), out=out[:, 1::2])
    return out


def _blocked(d: int, image: torch.Tensor, draw: torch.Tensor, seed: int, stream: int, law) -> torch.Tensor:
    """`law` of the words of d elements per row, computed in blocks of rows on a CPU."""
    if image.shape != draw.shape or image.dim() != 1:
        raise ValueError(f"image and draw must be two int64 vectors of one length, got {image.shape} and {draw.shape}")
    groups = -(-d // 4)
    rows = len(image)
    step = max(1, BLOCK // groups) if image.device.type == "cpu" else max(1, rows)
    out = torch.empty(rows, 4 * groups, dtype=torch.float32, device=image.device)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        out[part] = law(words(groups, image[part], draw[part], seed=seed, stream=stream)).flatten(1)
    return out[:, :d]
