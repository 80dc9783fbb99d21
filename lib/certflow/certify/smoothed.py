"""The door for people with a model and images: certify or predict, without the pipeline."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from certflow.certify.base import CertificateSpec
from certflow.certify.kinds.dssn import DependentSplittingCertificate
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.certify.memory import Running, certify, ready, slack_of_votes, votes
from certflow.certify.predict import checked_votes, prediction_table
from certflow.kinds.spec import problems_of
from certflow.machine.naming import checked_device
from certflow.models.base import Inference, checked_inference
from certflow.noise.base import NoiseSpec, checked_noise
from certflow.noise.radii import Norm, usual_norm
from certflow.sampling.arguments import checked_alpha, checked_draws, checked_images, warn_of_scale
from certflow.sampling.base import Arithmetic, SamplerSpec
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.kinds.enumerated import Enumerated
from certflow.sampling.kinds.fixed import Fixed
from certflow.sampling.quantizing import quantized
from certflow.stats.limits import USUAL_ALPHA

if TYPE_CHECKING:
    import pandas as pd

CERTIFIED_FOR_ROUNDED = "the image rounded to 8 bits, and 8-bit images within the radius of it"
COLUMNS = ["idx", "predict", "radius", "n", "k", "p_lower", "selected"]
ENUMERATED = {"idx": "idx", "predict": "predict", "radius": "radius", "k": "count", "k_other": "other_count", "n": "n"}
"""Columns where every outcome was counted, and what they are called here."""


class SmoothedClassifier:
    """g(x) = the class that `model` gives most often to x + noise (Cohen, Rosenfeld and Kolter 2019).

    model: any torch module from images float32 [rows, channels, height, width] in [0,1] to logits [rows, classes], or to a
    tuple, mapping or object that holds them; it is copied, not changed. Or a function that does so, which is called as it is.
    `classes`, if given, is checked against its logits. noise: such as `certflow.noise.Gaussian(sigma=0.25)`.
    Results are a pure function of (model, image, `seed`, the image's index), whatever the batch size and whichever other
    images are asked about. Other samplers and certificates: `certflow.certify.memory.certify`.
    """

    def __init__(
        self,
        model: torch.nn.Module | Callable[[torch.Tensor], Any],
        noise: NoiseSpec,
        *,
        classes: int | None = None,
        device: str | torch.device | None = None,
        inference: Inference | None = None,
    ):
        self.model, self.noise, self.classes = model, checked_noise(noise), classes
        self.inference = checked_inference(inference)
        warn_of_scale(noise)
        self.device = checked_device(device)

    def certify(
        self,
        images: Any,
        n0: int | None = None,
        n: int | None = None,
        alpha: float | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        *,
        norm: Norm | None = None,
        indices: Any = None,
        arithmetic: Arithmetic = "float",
        quantize_input: bool = False,
        quiet: bool = False,
    ) -> "pd.DataFrame":
        """CERTIFY: a class and a radius per image, wrong with probability at most alpha each.

        images: [images, channels, height, width], uint8 or floating point in [0,1]. n0 draws (100) choose the class, n fresh
        ones (100,000) bound its probability; alpha is 0.001. norm: of the radius; left out, l2, or the first in which radii
        under this noise are known. `indices` int [images] name the images in the noise's counters; default 0, 1, 2, ….
        arithmetic: `exact` draws noise in whole grey levels, for images whose pixels are multiples of 1/255 (ValueError for
        others): the radius then is a theorem down to the last bit, see docs/sampling.md. quantize_input: round such others to
        8 bits first. Class and radius are then those of the rounded image, for 8-bit perturbations of it; `certified_for` among
        the table's `attrs` says so.

        Under noise that can be enumerated (`DependentSplitting`) every outcome is counted instead. Images must be 8-bit ones;
        n0, n and alpha are a ValueError. Columns: idx, predict, radius (l1, whole multiples of 1/255, deterministic), count
        (outcomes that gave the class), other_count (that gave the next one), n (outcomes in all).

        Columns: idx (the image's index), predict (-1 = abstain), radius ([0,1]-pixel units, 0 when abstaining), n, k (how
        many of the n draws gave the selected class), p_lower (Clopper-Pearson bound at alpha), selected. The table's `attrs`
        say in which precision the model ran and how it was prepared. With quantize_input also rounded_by: the l2
        distance of the rounded image from the given one, 0 for uint8. Every 8-bit image within radius - rounded_by of
        the given one has its class. Images that are not 8-bit ones are not certified, however near: they are rounded first,
        and a tiny change can round to the next level in many pixels.
        """
        if self.noise.outcomes is None:
            sampler, certificate = _drawn(self.noise, n0, n, alpha, norm, arithmetic)
            names = {name: name for name in COLUMNS}
        else:
            sampler, certificate = _enumerated(self.noise, norm, {"n0": n0, "n": n, "alpha": alpha})
            names = ENUMERATED
        images, index, rounded_by = _asked(images, indices, sampler.arithmetic, quantize_input)
        base = self._ready(images, batch_size)
        found = certify(
            base,
            images,
            self.noise,
            sampler,
            certificate,
            seed=seed,
            index=index,
            running=Running(quiet=quiet),
        )
        return _told(found.table[list(names)].rename(columns=names), base, rounded_by)

    def predict(
        self,
        images: Any,
        n: int = 1000,
        alpha: float = USUAL_ALPHA,
        batch_size: int | None = None,
        seed: int = 0,
        *,
        indices: Any = None,
        arithmetic: Arithmetic = "float",
        quantize_input: bool = False,
        quiet: bool = False,
    ) -> "pd.DataFrame":
        """PREDICT: the smoothed class per image, or -1 where n draws are too few; wrong with probability at most alpha each.

        Arguments as in `certify`; with quantize_input the class is the rounded image's. Columns: idx, predict, radius
        (always 0: a prediction claims no robustness), n, k (how many draws gave the most frequent class), p_value (two-sided
        test of the two largest counts), and rounded_by as there.
        """
        alpha = checked_alpha(alpha)
        n = checked_votes(checked_draws("n", n), alpha)
        images, index, rounded_by = _asked(images, indices, arithmetic, quantize_input)
        base = self._ready(images, batch_size)
        options = {"n": n, "seed": seed, "index": index, "arithmetic": arithmetic}
        found = votes(base, images, self.noise, running=Running(quiet=quiet), **options)
        table = prediction_table(found, alpha, slack_of_votes(self.noise, base.dim, n, arithmetic))
        return _told(table.drop(columns="time"), base, rounded_by)

    def votes(self, images: Any, n: int, seed: int = 0, *, indices: Any = None, quiet: bool = False) -> np.ndarray:
        """int64 [images, classes]: how many of n noisy copies get each class, the draws that `predict` judges."""
        images, index = checked_images(images, indices)
        base, running = self._ready(images, None), Running(quiet=quiet)
        return votes(base, images, self.noise, n=checked_draws("n", n), seed=seed, index=index, running=running)[
            "counts"
        ]

    def certify_arrays(self, x: Any, n: int | None = None, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """`certify` as (classes int64 [images] with -1 for abstention, radii float64 [images])."""
        table = self.certify(x, n=n, **options)
        return table["predict"].to_numpy(np.int64), table["radius"].to_numpy(np.float64)

    def _ready(self, images: torch.Tensor, batch_size: int | None) -> BaseClassifier:
        """A copy of the model as it is now, made ready for images of this shape."""
        options: dict[str, Any] = {
            "classes": self.classes,
            "device": self.device,
            "inference": self.inference,
            "batch": batch_size,
        }
        return ready(self.model, tuple(images.shape[1:]), **options)


def _drawn(
    noise: NoiseSpec, n0: int | None, n: int | None, alpha: float | None, norm: Norm | None, arithmetic: Arithmetic
) -> tuple[SamplerSpec, CertificateSpec]:
    """Sampler and certificate of Cohen et al., with their numbers as defaults."""
    norm = norm or usual_norm(noise.kind)
    n0, n = checked_draws("n0", 100 if n0 is None else n0), checked_draws("n", 100_000 if n is None else n)
    alpha = checked_alpha(USUAL_ALPHA if alpha is None else alpha)
    try:
        return Fixed(n0=n0, n=n, arithmetic=arithmetic), NeymanPearson(sampler="fixed", alpha=alpha, norm=norm)
    except ValidationError as error:
        raise ValueError("; ".join(problems_of(error))) from None


def _enumerated(noise: NoiseSpec, norm: Norm | None, draws: dict[str, Any]) -> tuple[SamplerSpec, CertificateSpec]:
    """Sampler and certificate where every outcome is counted; ValueError for numbers that then have no meaning."""
    given = [name for name, value in draws.items() if value is not None]
    if given:
        raise ValueError(
            f"certify: every outcome of {noise.kind} noise is counted, so that there are no {', '.join(given)} to choose; "
            "leave them out"
        )
    certificate = DependentSplittingCertificate(sampler="enumerated")
    if norm not in (None, certificate.norm):
        raise ValueError(
            f"norm: what is counted under {noise.kind} noise gives radii in {certificate.norm}, not in {norm}"
        )
    return Enumerated(), certificate


def _asked(
    images: Any, indices: Any, arithmetic: Arithmetic, quantize_input: bool
) -> tuple[torch.Tensor, np.ndarray, np.ndarray | None]:
    """The images, their indices and, where they may be rounded, the distance of each from the given one."""
    images, index = checked_images(images, indices)
    if not quantize_input:
        return images, index, None
    if arithmetic != "exact":
        raise ValueError(
            'quantize_input: rounds images for arithmetic="exact"; leave it out, or ask for exact arithmetic'
        )
    images, rounded_by = quantized(images, index)
    return images, index, rounded_by


def _told(table: "pd.DataFrame", base: BaseClassifier, rounded_by: np.ndarray | None) -> "pd.DataFrame":
    """The table with attributes that describe the model and, where images may be rounded, which ones are certified."""
    table.attrs.update(base.describe())
    if rounded_by is not None:
        table["rounded_by"] = rounded_by
        table.attrs["certified_for"] = CERTIFIED_FOR_ROUNDED
    return table
