"""What more draws can bring: the radius if every draw gave the selected class, for any number of draws."""

from functools import lru_cache

import numpy as np
import pandas as pd

from certflow.certify.base import drawn_from
from certflow.doors.web.law import Law

POINTS = 33


@lru_cache(maxsize=256)
def most(law: Law, first: int, last: int) -> tuple[tuple[int, float], ...]:
    """(draws, radius if all of them hit) of counts that can grow, from `first` to `last` evenly spaced on a log scale."""
    draws = np.unique(np.geomspace(first, last, POINTS).astype(np.int64))
    return tuple(zip(draws.tolist(), radii(law, draws, draws), strict=True))


def radii(law: Law, hits: np.ndarray, draws: np.ndarray) -> list[float]:
    """The certificate's radii for so many hits of the selected class among so many draws."""
    index = np.arange(len(draws), dtype=np.int64)
    zero, n0 = np.zeros(len(draws), np.int64), law.sampler.n0
    stage = {"selected": zero, "k0": zero + n0, "k0_other": zero, "n0": zero + n0}
    plan = pd.DataFrame({"idx": index, "label": zero, **stage, "n": draws, "seconds0": 0.0})
    counts = np.stack([hits, draws - hits], axis=1)
    drawn = drawn_from(plan, {"counts": counts}, law.noise, law.dim, 0, law.sampler.arithmetic)
    return law.certificate.certify(drawn)["radius"].tolist()


def needed(law: Law, share: float) -> int | None:
    """About how many draws would certify something where this share of them hits; None where not even 10 million would."""
    draws = np.unique(np.geomspace(10, 10_000_000, 61).astype(np.int64))
    hits = np.floor(share * draws).astype(np.int64)
    found = radii(law, hits, draws)
    return next((int(n) for n, radius in zip(draws, found, strict=True) if radius > 0), None)
