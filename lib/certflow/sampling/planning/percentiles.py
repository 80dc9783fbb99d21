"""Where to cut the noise for DSRS's second counts: the percentile of ‖noise‖, chosen from stage-1 counts."""

import numpy as np

LARGEST = 0.98
"""What a rule's percentile is cut to: the published one passes 1 for p_lower > 1 - e^-10. None is below 1/4."""
RULES = ("x", "x+", "x2", "x2+")


def percentile(rule: str, p_lower: np.ndarray) -> np.ndarray:
    """float64 [images]: p_T of each image from a lower bound of its class's probability, by a rule of Li et al. 2022.

    `x`: 0.2 - 0.08 ln(1 - p_lower), or 1/2 where p_lower < 1/2, as in their program, whose results are the published ones (the
    paper also cuts it off below 1/2). `x2`: p_lower - 0.1, at least 0.4. A `+` at the end changes no percentile: it says that
    images are pooled (`TruncatedLaw.pool` of sampler `double`).
    """
    p_lower = np.asarray(p_lower, np.float64)
    if rule in ("x", "x+"):
        with np.errstate(divide="ignore"):
            found = np.where(p_lower >= 0.5, 0.2 - 0.08 * np.log1p(-p_lower), 0.5)
    elif rule in ("x2", "x2+"):
        found = np.maximum(p_lower - 0.1, 0.4)
    else:
        raise ValueError(f"no rule {rule!r}; known: {', '.join(RULES)}")
    return np.minimum(found, LARGEST)
