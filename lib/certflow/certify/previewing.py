"""An estimate of a table on arrays, without files: the sampler's few draws, with the pipeline's counts."""

from typing import Any

import numpy as np

from certflow.certify.memory import Images, Running, checked_given, checked_labels, draw
from certflow.certify.preview import Preview, preview_problems
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import SamplerSpec
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.counts import count_of
from certflow.sampling.settings import engine_settings
from certflow.stats.limits import USUAL_ALPHA


@engine_settings()
def previewed(
    base: BaseClassifier,
    images: Images,
    noise: NoiseSpec,
    sampler: SamplerSpec,
    labels: Any,
    *,
    norm: Norm = "l2",
    n: int = 100_000,
    alpha: float = USUAL_ALPHA,
    seed: int = 0,
    index: Any = None,
    running: Running | None = None,
) -> tuple[Preview, np.ndarray]:
    """What the table of n draws per image would be, estimated from the sampler's few, and the seconds of each image.

    ValueError with every reason why that cannot be. Other arguments as in `certify`.
    """
    images, index = checked_given(images, index)
    found = [*noise.problems(base.dim), *sampler.problems(), *preview_problems(noise, sampler, norm, base.dim)]
    if labels is None:
        found.append("labels: an estimate is about the true classes; give them")
    if found:
        raise ValueError("; ".join(found))
    label = checked_labels(labels, index, base.classes)
    _, arrays = draw(base, images, noise, sampler, label, seed=seed, index=index, running=running or Running())
    counts = arrays["counts"]
    made = Preview(count_of(counts, label), counts.sum(axis=1), noise, base.dim, norm, n, alpha)
    return made, arrays["seconds"]
