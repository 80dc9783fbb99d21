"""The Monte-Carlo engine and its planners. `SmoothedClassifier` is the door; importing this package does not load torch."""

from certflow.kinds.exports import exports

_HOMES = {
    "SmoothedClassifier": "smoothed",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
