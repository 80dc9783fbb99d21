"""A stopping rule tried on images whose class has a known probability: what it decides of each, and after how many draws."""

from dataclasses import dataclass

import numpy as np

from certflow.sampling.base import StoppingRule


@dataclass(frozen=True)
class Climbed:
    """How the images ended."""

    k: np.ndarray
    """int64 [images]: draws of the class."""
    drawn: np.ndarray
    """int64 [images]: draws in all."""
    decided: np.ndarray
    """float64 [images]: the decisions; -1: none."""


def climbed(rule: StoppingRule, p: np.ndarray, generator: np.random.Generator) -> Climbed:
    """Images whose class has the probabilities `p` (float64 [images]), drawn from look to look until the rule ends them all.

    RuntimeError where the last look leaves an image unfinished, which no rule may do.
    """
    k, drawn, decided = np.zeros(len(p), np.int64), np.zeros(len(p), np.int64), np.full(len(p), -1.0)
    going = np.arange(len(p))
    for look, n in enumerate(rule.looks):
        k[going] += generator.binomial(n - drawn[going], p[going])
        drawn[going] = n
        decided[going], finished = rule.judge(look, k[going], decided[going])
        going = going[~finished]
        if not len(going):
            return Climbed(k, drawn, decided)
    raise RuntimeError(f"the rule left {len(going)} images unfinished at its last look")
