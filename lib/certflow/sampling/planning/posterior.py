"""What stage 1 says about an image: a posterior over the probability of missing its selected class."""

import numpy as np
from scipy import special

from certflow.sampling.planning.utility import failure_grid


def posterior(k0: np.ndarray, n0: int, exponent: float) -> np.ndarray:
    """float64 [k0, q]: probabilities of the cells of `failure_grid` after k0 hits among n0 draws; each row sums to 1.

    Prior density proportional to q^(exponent - 1): images that are almost never missed are common, the more so the smaller the
    exponent. A wrong prior costs radius, never validity.
    """
    q, edges = failure_grid()
    prior = np.diff(edges**exponent)  # exact masses of the cells, up to a factor
    k0 = np.asarray(k0, np.float64)[:, None]
    log_weight = np.log(prior) + special.xlogy(n0 - k0, q) + special.xlog1py(k0, -q)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)
