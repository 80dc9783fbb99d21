"""Learning rates as pure functions of the epoch or step, so that a resumed run needs no scheduler state."""


def step_decay(lr: float, epoch: int, *, every: int, gamma: float, offset: int) -> float:
    """`lr` times `gamma` for every `every` epochs passed, each drop coming `offset` epochs late.

    offset 0 is the schedule of Cohen et al. (2019): lr·gamma^⌊epoch/every⌋. offset 1 is what the code of CAT-RS, SmoothMix
    and DSRS really does, since it advances its scheduler with the number of the epoch just finished:
    lr·gamma^⌊max(epoch−1, 0)/every⌋. Epochs are counted from 0.
    """
    return lr * gamma ** (max(epoch - offset, 0) // every)


def one_cycle(peak: float, step: int, total: int) -> float:
    """Linear up to `peak` over the first fifth of `total` steps, then linear down; positive at every step (0-based)."""
    rise = max(1, round(0.2 * total))
    return peak * min((step + 1) / rise, (total - step) / (total - rise + 1))
