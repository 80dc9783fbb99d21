"""Knowledge continuity: how much a network's loss changes over distances between its hidden representations.

What is certified here speaks of a random pair of data points, never of the worst change of one input. The functions below
take arrays and know nothing of what was classified.
"""

from certflow.kinds.exports import exports

_HOMES = {
    "BOUNDS": "bounds",
    "DISTANCES": "distances",
    "LOSSES": "losses",
    "Volatility": "ratios",
    "ball_scores": "balls",
    "certify": "certificates",
    "certify_points": "scans",
    "discontinuity": "balls",
    "largest_distance": "scans",
    "paper_certificate": "unsound",
    "volatility": "ratios",
    "volatilities": "ratios",
    "volatility_upper": "certificates",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
