"""CERTIFY on arrays, without files: any sampler, any certificate, and the pipeline's counts bit for bit.

The pipeline's stages, `SmoothedClassifier`, the command line and the web application all do these three steps with the same
functions: stage-1 counts and their plan (`plan_rows`), stage-2 counts (`measure`), the certificate (`certificate_table`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from certflow.certify.base import CertificateSpec, Claim, drawn_from, pairing_problems
from certflow.certify.table import certificate_table
from certflow.data.splits import require_classes
from certflow.machine.naming import checked_device
from certflow.models.base import Inference
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling.arguments import checked_images
from certflow.sampling.base import Arithmetic, Measurement, SamplerSpec
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import Reader, Watch
from certflow.sampling.measuring import measure
from certflow.sampling.plan import plan_columns, plan_rows
from certflow.sampling.resume import Journal
from certflow.sampling.settings import engine_settings

if TYPE_CHECKING:
    import pandas as pd

Model = torch.nn.Module | Callable[[torch.Tensor], Any] | BaseClassifier
"""A network or a function from images float32 [rows, channels, height, width] in [0,1] to logits, or one made ready."""
Images = np.ndarray | torch.Tensor | Reader
Journals = Callable[[Measurement], Journal]
"""Measurement → where its partial counts are kept."""


@dataclass(frozen=True)
class Running:
    """How the counting is done and followed; counts do not depend on any of it."""

    journals: Journals | None = None
    """Makes the work resumable: the same call with the same journals goes on where it was killed."""
    watch: Watch | None = None
    """Hears how far each stage is; see `certflow.sampling.engine.Watch`. What it raises ends the work."""
    describe: Callable[[int], str] | None = None
    """Names an image in messages."""
    quiet: bool = True
    """No progress bar on stderr."""

    def measure(self, base: BaseClassifier, images: Images, index: np.ndarray, wanted: Measurement, **options: Any):
        """`certflow.sampling.measuring.measure` with these settings."""
        journal = self.journals(wanted) if self.journals else None
        shown = {"describe": self.describe, "watch": self.watch, "quiet": self.quiet}
        return measure(base, images, index, wanted, journal=journal, **shown, **options)


@dataclass(frozen=True)
class Certified:
    """What `certify` found out."""

    table: "pd.DataFrame"
    """One row per image: the columns of `certificate_table`; without `label` and `correct` where no labels were given."""
    claim: Claim
    """What the radii say."""
    plan: "pd.DataFrame"
    """What the sampler planned (`plan_rows`)."""
    arrays: Mapping[str, np.ndarray]
    """The counts of stage 2 by name, `counts` int64 [images, classes] among them."""
    notes: Mapping[str, Any]
    """How the model was prepared and run, and the claim, for records."""


def ready(
    model: Model,
    shape: tuple[int, ...],
    *,
    classes: int | None = None,
    device: str | torch.device | None = None,
    inference: Inference | None = None,
    batch: int | None = None,
) -> BaseClassifier:
    """A copy of the model, prepared for sampling on images of `shape`; a prepared model is returned as it is.

    device: the first GPU where there is one, unless given. Errors as in `BaseClassifier`.
    """
    if isinstance(model, BaseClassifier):
        return model
    return BaseClassifier(model, inference, shape=shape, classes=classes, device=checked_device(device), batch=batch)


@engine_settings()
def certify(
    model: Model,
    images: Images,
    noise: NoiseSpec,
    sampler: SamplerSpec,
    certificate: CertificateSpec,
    *,
    seed: int = 0,
    index: Any = None,
    labels: Any = None,
    running: Running | None = None,
    **preparing: Any,
) -> Certified:
    """A class and a radius per image, wrong with probability at most the certificate's alpha each.

    images: [images, channels, height, width], uint8 or floating point in [0,1]; or a `Reader`, with `index` and a model made
    `ready`. index: int [images], positions in the full data set, which name the images in the noise's counters (0, 1, 2, ...
    unless given). labels: int [images], the true classes, for the column `correct`. preparing: as in `ready`.

    Counts are a pure function of (model, image, its index, seed, noise, sampler): those that the pipeline makes of the same,
    whatever the batch size, the other images (where the sampler plans images one by one) and interruptions.
    The settings of torch and of the C library that the engine needs are changed meanwhile and put back.

    ValueError with every reason why this noise, sampler and certificate cannot go together, or for malformed images or labels.
    """
    running = running or Running()
    images, index = checked_given(images, index)
    base = ready(model, _shape(model, images), **preparing)
    dim = base.dim
    found = problems(noise, sampler, certificate, dim)
    if labels is None and (sampler.judges_label or certificate.judges_label):
        found.append("labels: must be given, since this sampler or certificate judges them")
    if found:
        raise ValueError("; ".join(found))
    label = checked_labels(labels, index, base.classes)
    plan, arrays = draw(base, images, noise, sampler, label, seed=seed, index=index, running=running)
    drawn = drawn_from(plan, arrays, noise, dim, int(seed), sampler.arithmetic)
    table = certificate_table(drawn, certificate, arrays["seconds"])
    if labels is None:
        table, plan = table.drop(columns=["label", "correct"]), plan.drop(columns="label")
    claim = certificate.claim(drawn)
    return Certified(table, claim, plan, arrays, {**base.describe(), "claim": asdict(claim)})


def draw(
    base: BaseClassifier,
    images: Images,
    noise: NoiseSpec,
    sampler: SamplerSpec,
    label: np.ndarray,
    *,
    seed: int,
    index: np.ndarray,
    running: Running,
) -> tuple["pd.DataFrame", dict[str, np.ndarray]]:
    """Both stages of sampling: the plan, and the arrays of stage 2 with the seconds of both. Arguments as in `certify`,
    checked already; label: int64 [images]."""
    options: dict[str, Any] = {"seed": seed, "arithmetic": sampler.arithmetic}
    first = running.measure(base, images, index, selection(noise, sampler.n0, len(index)), **options)
    plan = plan_rows(sampler, noise, base.dim, index, label, first["selection"], first["seconds"])
    arrays: dict[str, np.ndarray] = {"seconds": first["seconds"]}
    for wanted in sampler.measurements(sampler.planned(plan_columns(plan), noise, base.dim)):
        found = running.measure(base, images, index, wanted, **options)
        arrays |= {**found, "seconds": arrays["seconds"] + found["seconds"]}
    return plan, arrays


def votes(
    base: BaseClassifier,
    images: Images,
    noise: NoiseSpec,
    *,
    n: int,
    seed: int = 0,
    index: Any = None,
    arithmetic: Arithmetic = "float",
    running: Running | None = None,
) -> dict[str, np.ndarray]:
    """n votes on each image, for PREDICT and for class frequencies: `idx`, `counts` int64 [images, classes], `seconds`.

    They are fresh: no certificate counts them. Arguments as in `certify`.
    """
    images, index = checked_given(images, index)
    wanted = Measurement("counts", noise, Stream.PREDICTION, np.full(len(index), n, np.int64))
    found = (running or Running()).measure(base, images, index, wanted, seed=seed, arithmetic=arithmetic)
    return {"idx": index, **found}


def slack_of_votes(noise: NoiseSpec, dim: int, n: int, arithmetic: Arithmetic) -> float:
    """By how much n votes together may miss the ideal law: at most n times what one misses; known in exact arithmetic only."""
    return n * noise.distance(dim) if arithmetic == "exact" else 0.0


def selection(noise: NoiseSpec, n0: int, images: int) -> Measurement:
    """Stage 1: n0 draws of each image. No draw at all (n0 = 0) where the certificate chooses the class itself."""
    return Measurement("selection", noise, Stream.SELECTION, np.full(images, n0, np.int64))


def problems(noise: NoiseSpec, sampler: SamplerSpec, certificate: CertificateSpec, dim: int) -> list[str]:
    """Why these cannot go together on images of `dim` coordinates (empty: they can)."""
    found = [*noise.problems(dim), *sampler.problems(), *sampler.noise_problems(noise, dim)]
    return list(dict.fromkeys([*found, *pairing_problems(certificate, noise, sampler)]))


def checked_given(images: Images, index: Any) -> tuple[Images, np.ndarray]:
    """The images as the engine takes them, and their positions; ValueError for malformed ones."""
    if not isinstance(images, Reader):
        return checked_images(images, index)
    if index is None:
        raise ValueError("index: images that are read on the way need their positions; give them")
    return images, np.asarray(index, np.int64)


def _shape(model: Model, images: Images) -> tuple[int, ...]:
    if isinstance(model, BaseClassifier):
        return model.shape
    if isinstance(images, Reader):
        raise ValueError("model: images that are read on the way need a model made `ready` for their shape")
    return tuple(images.shape[1:])


def checked_labels(labels: Any, index: np.ndarray, classes: int) -> np.ndarray:
    """int64 [images]; zeros where no labels are given, in a column that `certify` then drops."""
    if labels is None:
        return np.zeros(len(index), np.int64)
    labels = np.asarray(labels)
    if labels.shape != index.shape or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(index)} integers, one per image, got {labels.dtype} {list(labels.shape)}"
        )
    require_classes(labels, classes, lambda row: f"image {index[row]}")
    return labels.astype(np.int64)
