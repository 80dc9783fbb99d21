"""What every sampler decides: how many draws each image gets, from stage-1 counts alone."""

from typing import Any, ClassVar

import numpy as np

from lib.noise.base import NoiseSpec
from lib.spec import Spec

ENGINE_REVISION = 1
"""Raised whenever the engine would count otherwise for the same spec: old counts are then made again, never mixed with new."""


class SamplerSpec(Spec):
    """Base of all samplers. Torch-free: planning is arithmetic on counts.

    Stage 1 (`presample`) draws `n0` per image; `plan` looks at those counts and fixes, for every image, the class to certify
    and the number of fresh stage-2 draws, before any of them is made.
    """

    family: ClassVar[str] = "sampler"

    n0: int
    """Stage-1 draws per image."""

    def presample(self) -> dict[str, Any]:
        """The part of the spec that stage 1 depends on; samplers that agree here share their stage-1 counts' meaning."""
        return {"n0": self.n0}

    def plan(self, counts: np.ndarray, noise: NoiseSpec) -> dict[str, np.ndarray]:
        """From stage-1 counts int64 [images, classes] the columns `selected` (class, int64), `k0` (its stage-1 count) and
        `n` (stage-2 draws, int64; 0 = abstain without sampling)."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Settings that can never give a result (empty: none)."""
        return []
