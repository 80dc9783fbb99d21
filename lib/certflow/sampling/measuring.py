"""One measurement of images, wherever they lie: the stages of the pipeline and everything in memory count through here."""

from typing import Any

import numpy as np
import torch

from certflow.sampling.base import Measurement
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import Reader, count_classes
from certflow.sampling.sequential import count_until


def measure(
    base: BaseClassifier,
    images: np.ndarray | torch.Tensor | Reader,
    index: np.ndarray,
    measurement: Measurement,
    **options: Any,
) -> dict[str, np.ndarray]:
    """The arrays of one measurement by name: its counts int64 [images, classes], and `seconds` float64 [images].

    Where a rule ends images early there are also `drawn` (int64 [images]) and `decided` (float64 [images]), with a margin
    `unsure` (int64 [images]). images, index and options (seed, arithmetic, journal, ...): see `count_classes`.
    """
    options |= {
        "noise": measurement.noise,
        "stream": measurement.stream,
        "parameter": measurement.parameter,
        "description": measurement.stream.name.lower(),
    }
    if measurement.rule is None or measurement.selected is None:
        options |= {"every": measurement.every, "margin": measurement.margin}
        found = count_classes(base, images, index, measurement.draws, **options)
        unsure = {} if found.unsure is None else {"unsure": found.unsure}
        return {measurement.name: found.counts, "seconds": found.seconds, **unsure}
    ended = count_until(base, images, index, measurement.selected, measurement.rule, **options)
    stopped = {"drawn": ended.drawn, "decided": ended.decided}
    return {measurement.name: ended.counts, "seconds": ended.seconds, **stopped}
