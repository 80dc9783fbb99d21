"""One image, sampled in instalments: what is certified after each of them, and how to go on later with the same draws."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from certflow.certify.base import CertificateSpec, Drawn, drawn_from
from certflow.certify.bounds import raised
from certflow.certify.memory import problems, selection
from certflow.noise.base import NoiseSpec
from certflow.noise.streams import Stream
from certflow.sampling.arguments import checked_images
from certflow.sampling.base import Measurement, PlannedImages, SamplerSpec
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.fast.row_loop import Kept
from certflow.sampling.plan import plan_columns, plan_rows
from certflow.stats import anytime_failure
from certflow.stats.limits import LARGEST_N

GROWTH = 0.1
"""Share of the draws so far that the next instalment has at least: late looks tell little."""


@dataclass(frozen=True)
class Moment:
    """What is known after some draws."""

    drawn: int
    counts: np.ndarray
    """int64 [classes], of stage 2."""
    selected: int
    """The class that stage 1 chose, whose radius is certified."""
    p_hat: float
    """Share of the draws that gave it; NaN before the first."""
    p_lower: float
    """The certificate's lower bound on its probability; wrong with probability at most alpha."""
    p_upper: float
    """An upper bound, which holds at all moments at once; wrong with probability at most alpha. No radius depends on it."""
    predict: int
    """The class that is certified, -1 = abstain."""
    radius: float
    """A function of `counts` alone: what the certificate gives for so many draws."""
    best: float
    """The largest radius of all valid moments so far, which is valid too. It depends on which moments there were."""
    valid: bool
    """Whether radius and class are certified now. If not, they are what the certificate would give for so many draws, had their
    number been fixed beforehand: a preview, and no certificate."""
    seconds: float
    """Spent on drawing so far, stage 1 left out."""


class Live:
    """Counts of one image that grow, and what the certificate says of them.

    With a certificate that holds whenever one stops (kind `anytime`) every moment is certified, and one may stop, or go on
    beyond the planned draws, having looked. With one for a fixed number of draws only the last moment is.
    The counts after n draws are those of `certify` and of the pipeline with n draws, seed and index alike, whatever the
    instalments.

    image: [channels, height, width], uint8 or floating point in [0,1]. index: the image's position in its data set.
    state: what `state` gave earlier, of the same image and settings, to go on from there. ValueError with every reason why
    noise, sampler and certificate cannot go together, and for samplers that draw from several laws or stop by a rule.
    """

    def __init__(
        self,
        base: BaseClassifier,
        image: Any,
        noise: NoiseSpec,
        sampler: SamplerSpec,
        certificate: CertificateSpec,
        *,
        seed: int = 0,
        index: int = 0,
        state: Mapping[str, np.ndarray] | None = None,
    ):
        self.base, self.noise, self.sampler, self.certificate, self.seed = base, noise, sampler, certificate, int(seed)
        self.images, self.index = checked_images(_one(image), [index])
        self.dim = base.dim
        found = problems(noise, sampler, certificate, self.dim)
        if found:
            raise ValueError("; ".join(found))
        self.first = np.zeros(base.classes, np.int64)
        self.counts = np.zeros(base.classes, np.int64)
        self.seconds, self.best, self.kept = 0.0, 0.0, Kept()
        if state is not None:
            self._resume(state)
        self._plan()

    @property
    def anytime(self) -> bool:
        """Whether every moment is certified."""
        return self.certificate.fixed and self.certificate.sequential

    @property
    def drawn(self) -> int:
        """Draws of stage 2 so far."""
        return int(self.counts.sum())

    def state(self) -> dict[str, np.ndarray]:
        """What to keep so that another `Live` goes on from here: arrays by name."""
        numbers = {"seconds": np.array(self.seconds), "best": np.array(self.best)}
        return {"first": self.first.copy(), "counts": self.counts.copy(), **numbers}

    def moments(
        self, until: int | None = None, step: int | None = None, looking: float | None = None
    ) -> Iterator[Moment]:
        """What is known now, and after each instalment up to `until` draws in all (default: the planned number).

        Stop iterating to stop drawing. step: draws of an instalment at least, in whole batches (one batch unless given); it
        grows to a tenth of the draws so far. looking: the share of the time that may go into bounds; instalments grow to keep
        to it, up to doubling the draws. ValueError for more draws than planned where the certificate is for a fixed number.
        """
        until = self.planned if until is None else until
        if until > LARGEST_N:
            raise ValueError(f"until: bounds of more than {LARGEST_N:,} draws are not verified, got {until}")
        if until > self.planned and not self.anytime:
            raise ValueError(
                f"until: a certificate for a fixed number of draws holds at {self.planned} draws only, not after {until}; "
                "use one of kind anytime"
            )
        batch = self.base.batch
        while True:
            begun = time.thread_time()
            now = self.moment()
            looked = time.thread_time() - begun
            yield now
            if self.drawn >= until:
                return
            worth = 0 if looking is None else min(int(looked / looking * self._rate()), self.drawn)
            least = max(step or batch, int(GROWTH * self.drawn), worth)
            self._draw(min(-(-least // batch) * batch, until - self.drawn))

    def moment(self) -> Moment:
        """What is known now."""
        arrays, arithmetic = {"counts": self.counts[None]}, self.sampler.arithmetic
        drawn = drawn_from(self.plan.assign(n=self.drawn), arrays, self.noise, self.dim, self.seed, arithmetic)
        row, valid = self._certified(drawn), self.anytime or self.drawn == self.planned
        if valid:
            self.best = max(self.best, row["radius"])
        return Moment(
            drawn=self.drawn,
            counts=self.counts.copy(),
            selected=self.selected,
            p_hat=float(self.counts[self.selected] / self.drawn) if self.drawn else float("nan"),
            p_upper=self._upper(drawn.slack),
            best=self.best,
            valid=valid,
            seconds=self.seconds,
            **row,
        )

    def _plan(self) -> None:
        """Stage 1, unless it was done before, and what the sampler makes of it."""
        if not self.first.any():
            wanted = selection(self.noise, self.sampler.n0, 1)
            self.first = self._count(wanted.draws, Stream.SELECTION, Kept())
        zero = np.zeros(1)
        counts = self.first[None]
        self.plan = plan_rows(self.sampler, self.noise, self.dim, self.index, zero.astype(np.int64), counts, zero)
        measurements = self.sampler.measurements(self.sampler.planned(plan_columns(self.plan), self.noise, self.dim))
        if not _plain(measurements, self.noise):
            raise ValueError(
                f"sampler: counts of kind {self.sampler.kind} cannot grow in instalments; use one that draws a fixed number "
                "from one law, such as `fixed`"
            )
        self.selected, self.planned = int(self.plan["selected"].iloc[0]), int(measurements[0].draws[0])

    def _rate(self) -> float:
        """Draws per second so far."""
        return self.drawn / self.seconds if self.seconds else 0.0

    def _draw(self, draws: int) -> None:
        start = np.array([self.drawn])
        self.counts = self.counts + self._count(np.array([draws]), Stream.ESTIMATION, self.kept, start)

    def _count(self, draws: np.ndarray, stream: Stream, kept: Kept, start: np.ndarray | None = None) -> np.ndarray:
        """int64 [classes]"""
        found = count_classes(
            self.base,
            self.images,
            self.index,
            draws,
            noise=self.noise,
            seed=self.seed,
            stream=stream,
            arithmetic=self.sampler.arithmetic,
            start=start,
            kept=kept,
            quiet=True,
        )
        if stream == Stream.ESTIMATION:
            self.seconds += float(found.seconds[0])
        return found.counts[0]

    def _certified(self, drawn: Drawn) -> dict[str, Any]:
        """Class, radius and lower bound for the counts as they are."""
        if not self.drawn:
            return {"predict": -1, "radius": 0.0, "p_lower": 0.0}
        row = self.certificate.certify(drawn).iloc[0]
        return {"predict": int(row["predict"]), "radius": float(row["radius"]), "p_lower": float(row["p_lower"])}

    def _upper(self, slack: float) -> float:
        if not self.drawn:
            return 1.0
        missed = self.drawn - self.counts[self.selected]
        return float(raised(np.asarray(anytime_failure(missed, self.drawn, self.certificate.alpha)), slack))

    def _resume(self, state: Mapping[str, np.ndarray]) -> None:
        first, counts = (np.asarray(state[name], np.int64) for name in ("first", "counts"))
        fits = first.shape == counts.shape == self.counts.shape and min(first.min(), counts.min()) >= 0
        if not fits or first.sum() != self.sampler.n0:
            raise ValueError("state: is not of this image and sampler; leave it out to begin again")
        self.first, self.counts = first.copy(), counts.copy()
        self.seconds, self.best = float(state["seconds"]), float(state["best"])


def grows(noise: NoiseSpec, sampler: SamplerSpec, classes: int, dim: int) -> bool:
    """Whether counts of this sampler can grow in instalments: whether it makes a fixed number of draws of the noise itself."""
    if sampler.sequential:
        return False  # the rule of its measurement would say so too, but may take long to make
    first, zero = np.zeros((1, classes), np.int64), np.zeros(1)
    first[0, 0] = sampler.n0
    plan = plan_rows(sampler, noise, dim, zero.astype(np.int64), zero.astype(np.int64), first, zero)
    return _plain(sampler.measurements(PlannedImages(plan_columns(plan), noise, dim)), noise)


def _one(image: Any) -> Any:
    """The image as a batch of one."""
    return image[None] if isinstance(image, torch.Tensor | np.ndarray) else np.asarray(image)[None]


def _plain(measurements: list[Measurement], noise: NoiseSpec) -> bool:
    """Whether stage 2 is one set of draws of the noise itself whose number is fixed."""
    none = np.zeros(0, np.int64)
    bare = Measurement("counts", noise, Stream.ESTIMATION, none)
    return len(measurements) == 1 and replace(measurements[0], draws=none) == bare
