"""Noise distributions: `Gaussian(sigma=0.25)` and the kinds registered in `lib.noise.kinds`. Import does not load torch."""

from lib.noise.kinds.gaussian import Gaussian

__all__ = ["Gaussian"]
