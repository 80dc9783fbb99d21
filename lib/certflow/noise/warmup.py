"""How the exponent of generalised Gaussian noise grows during training (Li, Zhang, Xie and Li 2022, training code)."""

import math


def warm_exponent(k: int, counter: int, length: int) -> int:
    """⌈k(1 - k^(-counter/length))⌉ up to counter = `length`, k afterwards: 0 at first, k - 1 at `length` (for k ≥ 1).

    counter: epochs or loader batches done before (≥ 0). length: of the warm-up, in the same unit; 0 means no warm-up. The gap
    to k shrinks geometrically from k to 1.
    """
    if counter < 0 or length < 0:
        raise ValueError(f"counter and length must not be negative, got {counter} and {length}")
    if k == 0 or length == 0 or counter > length:
        return k
    if counter == length:
        return k - 1  # what the formula means; floating point may round the gap of 1 either way
    return math.ceil(k - k * math.exp(-counter * math.log(k) / length))
