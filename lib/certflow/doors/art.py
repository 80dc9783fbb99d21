"""For users of the Adversarial Robustness Toolbox: its class of randomised smoothing, on this engine.

    from certflow.doors.art import PyTorchRandomizedSmoothing  # was: from art.estimators.certification.randomized_smoothing

Arguments, shapes and the meaning of what is returned are those of ART 1.20; the package itself is not needed. docs/api.md says
what differs.
"""

from typing import Any

import numpy as np
import torch

from certflow.certify.predict import predict_classes
from certflow.certify.smoothed import SmoothedClassifier
from certflow.models.base import Inference
from certflow.models.normalise import Normalise
from certflow.noise import Gaussian
from certflow.stats.limits import USUAL_ALPHA

Range = tuple[float, float]


class PyTorchRandomizedSmoothing:
    """A classifier smoothed by Gaussian noise, with ART's constructor, `predict` and `certify`.

    model: torch module from images [rows, *input_shape] to logits. scale: standard deviation of the noise, in the units of the
    images; clip_values: their range, (0, 1) unless given. preprocessing: (subtrahend, divisor), one number each or one per
    channel, applied after the noise; None for none. sample_size: draws that choose the class, and votes of `predict`. alpha:
    probability of error per image. seed: of the noise; the same call gives the same numbers. inference: how the model is
    evaluated.

    loss and optimizer are not used: this class neither trains nor takes gradients. ValueError for images with channels last,
    for ranges and preprocessing that are not such, and for defences, which are part of the model here.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Any = None,
        input_shape: tuple[int, ...] | None = None,
        nb_classes: int | None = None,
        optimizer: Any = None,
        channels_first: bool = True,
        clip_values: Range | None = None,
        preprocessing_defences: Any = None,
        postprocessing_defences: Any = None,
        preprocessing: tuple[Any, Any] | None = (0.0, 1.0),
        device_type: str = "gpu",
        sample_size: int = 32,
        scale: float = 0.1,
        alpha: float = USUAL_ALPHA,
        *,
        seed: int = 0,
        inference: Inference | None = None,
    ):
        if not channels_first:
            raise ValueError("channels_first: images [images, channels, height, width] are needed; move their channels")
        if preprocessing_defences or postprocessing_defences:
            raise ValueError("defences: what they do is part of what is certified; put it into the model")
        self.low, self.high = _range(clip_values)
        self.input_shape, self.nb_classes = input_shape, nb_classes
        self.sample_size, self.scale, self.alpha, self.seed = sample_size, scale, alpha, seed
        device = "cuda" if device_type == "gpu" and torch.cuda.is_available() else "cpu"
        noise = Gaussian(sigma=scale / (self.high - self.low))
        whole = _after(model, preprocessing or (0.0, 1.0), self.low, self.high)
        self.smoothed = SmoothedClassifier(whole, noise, classes=nb_classes, device=device, inference=inference)

    def predict(self, x: np.ndarray, batch_size: int = 128, verbose: bool = False, **options: Any) -> np.ndarray:
        """float64 [images, classes]: 1 for the class that is predicted, rows of zeros for abstentions.

        is_abstain=False: the most frequent class in any case. batch_size is not needed: the engine chooses its own, and results
        do not depend on it.
        """
        abstain = _abstain(**options)
        counts = self.smoothed.votes(self._scaled(x), self.sample_size, seed=self.seed, quiet=not verbose)
        chosen = predict_classes(counts, self.alpha)[0] if abstain else counts.argmax(axis=1)
        return (np.arange(counts.shape[1]) == chosen[:, None]).astype(np.float64)

    def certify(self, x: np.ndarray, n: int, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """(classes int64 [images], -1 for abstentions; l2 radii float64 [images], in the units of the images)."""
        options = {"n0": self.sample_size, "alpha": self.alpha, "seed": self.seed, "quiet": True}
        classes, radii = self.smoothed.certify_arrays(self._scaled(x), n=n, **options)
        return classes, radii * (self.high - self.low)

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        """The images in [0,1]."""
        if (self.low, self.high) == (0.0, 1.0):
            return x
        scaled = (np.asarray(x, np.float64) - self.low) / (self.high - self.low)
        inside = np.clip(scaled, 0.0, 1.0)
        # Images are float32, and what made them rounded a few numbers of the size of the range's ends.
        rounding = 8 * np.finfo(np.float32).eps * max(abs(self.low), abs(self.high)) / (self.high - self.low)
        return np.where(np.abs(scaled - inside) <= rounding, inside, scaled).astype(np.float32)


def _range(clip_values: Range | None) -> Range:
    try:
        low, high = (0.0, 1.0) if clip_values is None else (float(value) for value in clip_values)
    except (TypeError, ValueError):
        raise ValueError(f"clip_values: must be two numbers, one range for all pixels, got {clip_values!r}") from None
    if not low < high:
        raise ValueError(f"clip_values: must rise, got {clip_values!r}")
    return low, high


def _abstain(is_abstain: bool = True) -> bool:
    return is_abstain


def _after(model: torch.nn.Module, preprocessing: tuple[Any, Any], low: float, high: float) -> torch.nn.Module:
    """The model on images in [0,1]: scaling back to the range and the preprocessing are one normalisation."""
    subtrahend, divisor = (np.atleast_1d(np.asarray(part, np.float64)).ravel() for part in preprocessing)
    mean, sd = (subtrahend - low) / (high - low), divisor / (high - low)
    if (mean == 0).all() and (sd == 1).all():
        return model
    mean, sd = np.broadcast_arrays(mean, sd)
    return torch.nn.Sequential(Normalise(mean.tolist(), sd.tolist()), model)
