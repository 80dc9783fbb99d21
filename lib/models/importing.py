"""Bringing a model made elsewhere into a run, and finding out at once whether it sees the images as it was trained to.

Published files rarely contain the normalisation in front of the network, and a wrong one ruins a model without any error.
So the noisy accuracy is measured under the chosen normalisation and under the ones in use, and a better one is pointed out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lib.artefact import file_digest
from lib.data.augmentation import to_unit
from lib.data.base import DataInfo, Split
from lib.errors import NonFiniteError
from lib.models.base import ModelSpec
from lib.models.normalise import Normalise
from lib.models.published import load_weights
from lib.noise.base import NoiseSpec
from lib.noise.streams import Stream

if TYPE_CHECKING:
    from lib.training.kinds.external import External

IMAGES = 512
LARGE, FEWER = 64 * 64 * 3, 128
"""Images looked at, and how many where one image has more than LARGE coordinates."""
BATCH = 64
SOURCES = {"given": "set by the method entry", "file": "stored in the file", "data": "the dataset's"}
MARGIN = 0.1
"""Accuracy by which another normalisation must win to be pointed out; the sampling error of a difference is below 0.04."""


def import_model(
    checkpoint: str | Path,
    external: "External",
    spec: ModelSpec,
    info: DataInfo,
    test: Split,
    noise: NoiseSpec,
    seed: int,
    device: str | torch.device = "cpu",
) -> tuple[torch.nn.Sequential, dict[str, Any]]:
    """The network of `spec` with the weights of `checkpoint`, in eval mode on `device`, and notes for its provenance.

    It normalises as `external` says, else the file, else `spec` and `info`. Notes: `checkpoint`, its `sha256`,
    `normalisation` (where it came from, mean, sd), `images` looked at, `clean_accuracy` and `noisy_accuracy` (one draw per
    image), `alternatives` (normalisation → noisy accuracy) and, where the model guesses or another normalisation is clearly
    better, `warning`, also printed on stderr.

    Raises `ArtefactError` for a file that cannot be read or does not fit, `NonFiniteError` for logits that are no numbers.
    """
    path = Path(checkpoint)
    loaded = load_weights(path, spec, info, classes=info.classes, mean=external.mean, sd=external.sd)
    network = loaded.module.to(device)
    probe = _Probe(test, info, noise, seed, torch.device(device), path)
    clean, noisy = (probe.accuracy(network, noisy=noisy, strict=True) for noisy in (False, True))
    chosen = network[0]
    alternatives = {
        name: probe.accuracy(network.normalised_by(layer.to(device)), noisy=True, strict=False)
        for name, layer in _alternatives(info)
        if not layer.does_as(chosen)
    }
    notes = {
        "checkpoint": str(path),
        "sha256": file_digest(path),
        "normalisation": {"from": loaded.normalisation, "mean": _numbers(chosen.mean), "sd": _numbers(chosen.sd)},
        "images": len(probe.index),
        "clean_accuracy": clean,
        "noisy_accuracy": noisy,
        "alternatives": alternatives,
    }
    warning = _warning(noisy, alternatives, info.classes, len(probe.index))
    if warning:
        notes["warning"] = warning
        _shout(path, warning, chosen, clean, noise, notes)
    return network, notes


class _Probe:
    """A few images, spread evenly over the split (which may be sorted by class), and one noise draw for each."""

    def __init__(self, test: Split, info: DataInfo, noise: NoiseSpec, seed: int, device: torch.device, path: Path):
        count = min(len(test), IMAGES if info.dim <= LARGE else FEWER)
        if count == 0:
            raise ValueError("the test split has no images to look at")
        self.index = np.arange(count, dtype=np.int64) * len(test) // count
        self.labels = torch.as_tensor(np.asarray(test.labels)[self.index], device=device)
        self.test, self.noise, self.seed, self.device, self.path = test, noise, seed, device, path

    @torch.inference_mode()
    def accuracy(self, network: torch.nn.Module, *, noisy: bool, strict: bool) -> float:
        """Fraction of the images that the network gets right; strict: logits that are no numbers are an error, not a miss."""
        right = 0
        for rows in torch.arange(len(self.index)).split(BATCH):
            index = self.index[rows.numpy()]
            x = to_unit(torch.as_tensor(self.test.read(index), device=self.device))
            if noisy:
                x = x + self._draw(torch.as_tensor(index, device=self.device), tuple(x.shape[1:]))
            logits = network(x)
            finite = logits.isfinite().all(1)
            if strict and not bool(finite.all()):
                image = self.test.describe(int(index[int(finite.int().argmin())]))
                raise NonFiniteError(f"{self.path}: its logits on {image} are NaN or infinite; the model is of no use")
            right += int(((logits.argmax(1) == self.labels[rows.to(self.device)]) & finite).sum())
        return right / len(self.index)

    def _draw(self, index: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
        draw = torch.zeros_like(index)
        return self.noise.sample(shape, index, draw, seed=self.seed, stream=Stream.TRAIN_EVALUATION)


def _alternatives(info: DataInfo) -> Iterator[tuple[str, Normalise]]:
    """The normalisations in use, by what to write to get them."""
    channels = info.shape[0]
    yield "none (model: normalise: none)", Normalise()
    if info.mean is not None:
        yield f"dataset's (mean: {list(info.mean)}, sd: {list(info.sd)})", Normalise(info.mean, info.sd)
        yield f"centring only (mean: {list(info.mean)})", Normalise(info.mean)
    half = [0.5] * channels
    yield f"to [-1, 1] (mean: {half}, sd: {half})", Normalise(half, half)


def _numbers(values: torch.Tensor | None) -> list[float] | None:
    return None if values is None else values.flatten().tolist()


def _warning(noisy: float, alternatives: dict[str, float], classes: int, images: int) -> str | None:
    """What looks wrong, in a sentence; None where nothing does."""
    chance = 1 / classes
    guessing = chance + 3 * (chance * (1 - chance) / images) ** 0.5
    best = max(alternatives, key=alternatives.__getitem__)
    if alternatives[best] > max(noisy + MARGIN, guessing):
        return f"under another normalisation it is right on {alternatives[best]:.1%} instead of {noisy:.1%}: {best}"
    if noisy <= guessing:
        return f"it is right on {noisy:.1%} of noisy images, no better than guessing ({chance:.1%}), however it is normalised"
    return None


def _shout(path: Path, warning: str, chosen: Normalise, clean: float, noise: NoiseSpec, notes: dict[str, Any]) -> None:
    lines = [
        f"WARNING: {path}",
        f"  {warning}",
        f"  accuracy on {notes['images']} test images, noise of sigma {noise.sigma} (clean images: {clean:.1%}):",
        f"    {notes['noisy_accuracy']:6.1%}  as chosen: {chosen.extra_repr()} ({SOURCES[notes['normalisation']['from']]})",
        *(f"    {accuracy:6.1%}  {name}" for name, accuracy in notes["alternatives"].items()),
        "  Likely causes: the wrong normalisation (set mean and sd of the method entry), a model trained for another",
        "  dataset or another noise level. The run goes on with the model as chosen.",
    ]
    bar = "=" * 100
    print("\n".join(["", bar, *lines, bar, ""]), file=sys.stderr, flush=True)
