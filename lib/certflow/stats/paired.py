"""Two classifiers on the same images: is one right more often than the other?"""

from scipy.stats import binom


def mcnemar(gains: int, losses: int) -> float:
    """Two-sided p-value of McNemar's exact test (McNemar 1947) that two classifiers are right equally often.

    gains: images that the second alone gets right; losses: those that the first alone does. Under the hypothesis each of these
    images is a gain with probability 1/2; images on which both are right, or both wrong, say nothing. 1 where there are none.
    """
    if gains < 0 or losses < 0:
        raise ValueError(f"gains and losses must not be negative, got {gains} and {losses}")
    return float(min(1.0, 2 * binom.cdf(min(gains, losses), gains + losses, 0.5)))
