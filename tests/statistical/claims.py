"""Judging certificates by what is true: which claims are false, and whether so many of them prove anything."""

import numpy as np
import pandas as pd
from scipy import special, stats


def false_claims(table: pd.DataFrame, probabilities: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """bool [images]: certificates whose radius exceeds what the true probabilities give (Cohen et al. 2019, Theorem 1), or
    whose class is no top class. Where the class ties with another, every answer claims too much.

    table: columns predict, radius, selected. probabilities: float [images, classes].
    """
    rows = np.arange(len(table))
    own = probabilities[rows, table["selected"]]
    others = probabilities.copy()
    others[rows, table["selected"]] = 0.0
    largest = sigma * (special.ndtri(own) - special.ndtri(others.max(axis=1))) / 2
    return ((table["predict"] >= 0) & (table["radius"] > largest)).to_numpy()


def at_most(failures: int, trials: int, rate: float, level: float) -> bool:
    """Whether so many failures are compatible with a failure rate of at most `rate` (one-sided exact test at `level`)."""
    return stats.binom.sf(failures - 1, trials, rate) >= level


def at_least(failures: int, trials: int, rate: float, level: float) -> bool:
    """Whether so few failures are compatible with a failure rate of at least `rate` (one-sided exact test at `level`)."""
    return stats.binom.cdf(failures, trials, rate) >= level
