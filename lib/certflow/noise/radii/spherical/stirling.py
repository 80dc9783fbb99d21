"""Gamma functions of large arguments, without the cancellation of `lgamma` differences."""

import math

from scipy import special

SERIES_FROM = 30.0
"""From here on the five terms below leave a relative error under 1e-17."""


def remainder(a: float) -> float:
    """s(a) of Stirling's formula ln Gamma(a) = (a - 1/2) ln a - a + ln(2 pi)/2 + s(a), for a > 0."""
    if a < SERIES_FROM:
        return float(special.gammaln(a) - ((a - 0.5) * math.log(a) - a + 0.5 * math.log(2 * math.pi)))
    i = 1.0 / a**2
    return (1 / 12 - i * (1 / 360 - i * (1 / 1260 - i * (1 / 1680 - i / 1188)))) / a


def log_step(a: float, m: float) -> float:
    """ln(Gamma(a + m) / Gamma(a)) for a > 0 and a + m > 0, to about 1e-15 of m ln a however large a is."""
    rise = math.log1p(m / a)
    return a * rise + (m - 0.5) * rise + m * math.log(a) - m + remainder(a + m) - remainder(a)
