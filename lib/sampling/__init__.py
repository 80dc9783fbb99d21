"""The Monte-Carlo engine and its planners. `SmoothedClassifier` is the door; importing this package does not load torch."""

from typing import Any

__all__ = ["SmoothedClassifier"]


def __getattr__(name: str) -> Any:
    if name == "SmoothedClassifier":
        from lib.sampling.smoothed import SmoothedClassifier

        return SmoothedClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
