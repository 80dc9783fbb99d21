"""How a diagnosis prints losses, curves and correlations."""

import numpy as np

from certflow.report.numbers import DASH, signed

LOSS_NAMES = {
    "ce": "cross-entropy",
    "prob_ce": "cross-entropy of probabilities",
    "prob": "1 − probability",
    "zero_one": "0-1 loss",
}
"""Loss → how it is printed."""
CURVE_NAMES = {"joint_bound": "joint", "conditional_bound": "given that they are close", "direct_upper": "counted"}
"""Column of the certificate's table → what its curve is called."""


def correlation(value: float) -> str:
    """A correlation with its sign and two decimals; a dash where there is none."""
    return DASH if np.isnan(value) else signed(f"{value:z.2f}")
