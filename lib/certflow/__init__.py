"""certflow: certified robustness of neural networks by smoothing.

The stable names of docs/api.md can be imported from here; nothing heavy is loaded before one of them is used.
"""

from certflow.kinds.exports import exports

__version__ = "0.2.0"

_HOMES = {
    "SmoothedClassifier": "certify.smoothed",
    "load_checkpoint": "models.published",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
