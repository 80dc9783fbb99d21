"""Theorem 4.1 of the method's paper as it is printed, for comparison alone: it does not hold.

    P(some (x, y) in A has Δ > η | d(f(x'), f(A)) < δ) ≤ ε δ / V,   V = η (1 − exp(−c (δ/B − √ln(1/P(A)))²))

with volatility ε and diameter B. A mean over pairs cannot bound an event of existence: with all right points in one tight
cluster and all wrong ones in another, B apart, accuracy 0.9, η = 0.9, δ = B and c = 1 the left side is 1 and the right
0.317. The paper leaves c open. Where it applies, and for c ≤ 1, it is never better than P(d < δ) ≥ P(A).
"""

import math


def paper_certificate(
    volatility: float, delta: float, eta: float, diameter: float, *, c: float = 1.0, anchor_share: float = 1.0
) -> float:
    """1 − ε δ / V, in [0, 1]; 0 where δ/B lies below √ln(1/P(A)), where the exponential bounds nothing.

    diameter: B. A sample's largest distance, all that is known of it, lies below B. anchor_share: P(A). Not sound.
    """
    for name, value in (("delta", delta), ("eta", eta), ("diameter", diameter), ("c", c)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: must be above 0 and finite, got {value}")
    if not 0 < anchor_share <= 1:
        raise ValueError(f"anchor_share: must lie in (0, 1], got {anchor_share}")
    reach = delta / diameter - math.sqrt(math.log(1 / anchor_share))
    v = -eta * math.expm1(-c * reach * reach) if reach > 0 else 0.0
    return min(1.0, max(0.0, 1 - volatility * delta / v)) if v > 0 else 0.0
