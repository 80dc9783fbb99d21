"""Learning rates as pure functions of the epoch or step, so that a resumed run needs no scheduler state."""

import math


def step_decay(lr: float, epoch: int, *, every: int, gamma: float, offset: int) -> float:
    """`lr` times `gamma` for every `every` epochs passed, each drop coming `offset` epochs late.

    offset 0 is the schedule of Cohen et al. (2019): lr·gamma^⌊epoch/every⌋. offset 1 is what the code of CAT-RS, SmoothMix,
    DSRS and denoised smoothing really does, since it advances its scheduler with the number of the epoch just finished:
    lr·gamma^⌊max(epoch−1, 0)/every⌋. Epochs are counted from 0.
    """
    return lr * gamma ** (max(epoch - offset, 0) // every)


def one_cycle(peak: float, step: int, total: int) -> float:
    """Linear up to `peak` over the first fifth of `total` steps, then linear down; positive at every step (0-based)."""
    rise = max(1, round(0.2 * total))
    return peak * min((step + 1) / rise, (total - step) / (total - rise + 1))


def cosine(start: float, end: float, way: float) -> float:
    """From `start` (way 0) to `end` (way 1) along half a wave: slow at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2


def cosine_warmup(peak: float, epoch: float, epochs: int, *, warmup: int, least: float) -> float:
    """Linear up from 0 to `peak` over `warmup` epochs, then along half a wave down to `least` at the end of the run.

    `epoch` counts from 0 and has a fraction: the share of the epoch's steps that are done. As in the fine-tuning of
    masked autoencoders (He et al. 2022) and of FT-CADIS (Jeong et al. 2024).
    """
    if epoch < warmup:
        return peak * epoch / warmup
    return cosine(peak, least, (epoch - warmup) / (epochs - warmup))
