"""Noise schedules of diffusion models, and the step at which such a model expects the noise that smoothing adds.

A diffusion model works on u = 2x − 1. Its step t holds u_t = √ā_t·u + √(1 − ā_t)·ξ; divided by √ā_t this is u with noise of
standard deviation √((1 − ā_t)/ā_t), which is twice that of the noise on x in [0,1] (Carlini et al. 2023, section 3, with the
factor of the change of range). All of it in float64: the tables of libraries in float32 lose the end of the cosine schedule.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

CAP = 0.999
"""Largest beta of the cosine schedule."""


@dataclass(frozen=True)
class Schedule:
    """ā_t for t = 0 … steps − 1 (index 0 is one noising step).

    `linear`: betas from `beta_start` to `beta_end`, by default those of Ho et al. (2020) scaled by 1000/steps. `scaled_linear`:
    evenly spaced square roots of betas. `cosine`: Nichol and Dhariwal (2021), equation 17.
    """

    kind: Literal["linear", "scaled_linear", "cosine"]
    steps: int
    beta_start: float | None = None
    beta_end: float | None = None

    def __post_init__(self) -> None:
        betas = self.betas()
        if not 0 < betas.min() <= betas.max() < 1:
            raise ValueError(
                f"steps: in a {self.kind} schedule of {self.steps} steps betas go from {betas.min():.3g} to {betas.max():.3g}, "
                "but must lie between 0 and 1; take more steps"
            )

    def betas(self) -> np.ndarray:
        """float64 [steps]."""
        if self.kind == "cosine":
            edges = _cosine(np.arange(self.steps + 1) / self.steps)
            return np.minimum(1 - edges[1:] / edges[:-1], CAP)
        scale = 1000 / self.steps
        start = 1e-4 * scale if self.beta_start is None else self.beta_start
        end = 0.02 * scale if self.beta_end is None else self.beta_end
        if self.kind == "scaled_linear":
            return np.linspace(math.sqrt(start), math.sqrt(end), self.steps) ** 2
        return np.linspace(start, end, self.steps)

    @cached_property
    def alphas(self) -> np.ndarray:
        """ā, float64 [steps], falling."""
        return np.cumprod(1 - self.betas())

    @cached_property
    def levels(self) -> np.ndarray:
        """Noise level of each step on images in [0,1], float64 [steps], rising: ½√((1 − ā_t)/ā_t)."""
        return 0.5 * np.sqrt((1 - self.alphas) / self.alphas)

    def step(self, sigma: float) -> int:
        """The first step t ≥ 1 whose noise level is at least `sigma`. ValueError for a level that no step reaches."""
        self._check(sigma)
        return max(1, int(np.searchsorted(self.levels, sigma, side="left")))

    def time(self, sigma: float) -> float:
        """The time between steps at which the noise level is `sigma`: linear in log((1 − ā)/ā) between neighbours."""
        self._check(sigma)
        return float(np.interp(math.log(sigma), np.log(self.levels), np.arange(self.steps)))

    def _check(self, sigma: float) -> None:
        if not 0 < sigma <= self.levels[-1]:
            limit = f"{self.levels[-1]:.4g}"
            raise ValueError(
                f"a diffusion model of this schedule denoises levels above 0 and up to {limit}, got {sigma:g}"
            )


def alpha_of(sigma: float) -> float:
    """ā at which the noise on images in [0,1] has standard deviation `sigma`: 1/(1 + 4σ²)."""
    return 1 / (1 + 4 * sigma**2)


def _cosine(share: np.ndarray) -> np.ndarray:
    return np.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2
