"""Images beside planes, classified by which side a noisy copy falls on: the classifier whose true radii everybody knows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import torch
from catalogue import DIM, SHAPE, every, small

from certflow.certify.base import CertificateSpec, Drawn, pairing_problems
from certflow.kinds.registry import kinds, spec_class
from certflow.kinds.spec import Spec
from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.radii import Norm, norms_of
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement, SamplerSpec
from certflow.sampling.plan import plan_columns, plan_rows

DUAL = {"l1": np.inf, "l2": 2, "linf": 1}
"""Norm of a shift → norm of the direction that tells how far the plane is away."""
DISTANCES = np.array([0.0, 0.02, 0.1, 0.25, 0.5, 0.8, 1.2, 2.0, 3.0])
"""Distances from the plane, in standard deviations of the noise across it."""
DIRECTIONS = {
    "one pixel": np.eye(DIM)[11],
    "all pixels": np.ones(DIM) / np.sqrt(DIM),
    "some direction": np.random.default_rng(5).normal(size=DIM),
}
AT_ONCE = 500
"""Draws that are made at once, and remembered: many tests in a row look at the same ones."""
Triple = tuple[CertificateSpec, NoiseSpec, SamplerSpec]


def fitting(certificate: str) -> Iterator[Triple]:
    """The small instances of noises and samplers that a kind of certificate can be had from, with its own, in every norm that
    something is known of under the noise."""
    seen = []
    for noise, norm in product(every("noise"), get_args(Norm)):
        for sampler in in_norm("sampler", kinds("sampler"), norm):
            sampler = in_reach(sampler, noise, norm)
            if not sampler.noise_problems(noise, DIM):
                for made in in_norm("certificate", [certificate], norm):
                    triple = made, noise, sampler
                    if triple not in seen and not pairing_problems(made, noise, sampler):
                        seen.append(triple)
                        yield triple


def in_norm(family: str, names: Iterable[str], norm: str) -> Iterator[Spec]:
    """The small instances of these kinds, with radii in `norm` where they leave a choice."""
    for kind in names:
        cls = spec_class(family, kind)
        free = "norm" in cls.model_fields and "norm" not in cls.example
        if not free or norm in get_args(cls.model_fields["norm"].annotation):
            yield small(family, kind, **({"norm": norm} if free else {}))


def in_reach(sampler: Spec, noise: NoiseSpec, norm: str) -> Spec:
    """The sampler with its radii made such as the law can certify: l-infinity radii are far below 1."""
    if norm not in norms_of(noise.kind):
        return sampler
    most = float(norms_of(noise.kind)[norm].radius(np.array([0.02]), noise, DIM)[0])
    changes = {}
    if sampler.decides:
        changes["radii"] = [r / max(sampler.radii) * most for r in sampler.radii]
    if hasattr(sampler, "tolerance"):
        changes["tolerance"] = min(sampler.tolerance, most / 10)
    return sampler.model_copy(update=changes)


TRIPLES = [triple for kind in kinds("certificate") for triple in fitting(kind)]
BY_CHANCE = [triple for triple in TRIPLES if not triple[0].exhaustive]
"""Those whose radii follow from a bound on probabilities."""
ADDITIVE = sorted((triple for triple in BY_CHANCE if isinstance(triple[1], AdditiveNoise)), key=lambda t: t[1].kind)
"""Those of which copies beside a plane fall on either side of it as the noise does; by law, whose draws are remembered."""


def named(triple: Triple) -> str:
    return "-".join([*(spec.kind for spec in triple), triple[0].norm])


@dataclass
class Beside:
    """`images` images on one side of a plane at each of `DISTANCES`; class 1 is on the images' side."""

    direction: np.ndarray
    noise: NoiseSpec
    images: int = 4
    seed: int = 3

    def __post_init__(self):
        self.direction = self.direction / np.linalg.norm(self.direction)
        self.offset = np.repeat(DISTANCES * self.noise.sigma, self.images)

    def radius(self, norm: str) -> np.ndarray:
        """float64 [images]: how far each image is from the plane in `norm`."""
        return self.offset / np.linalg.norm(self.direction, ord=DUAL[norm])

    def hits(self, measurement: Measurement) -> list[np.ndarray]:
        """For each image bool [draws]: whether each noisy copy is on the image's side."""
        found = []
        for image, offset in enumerate(self.offset):
            draws = int(measurement.draws[image])
            parameter = None if measurement.parameter is None else float(measurement.parameter[image])
            law = measurement.noise, self.seed, int(measurement.stream), image, parameter
            noise = [noise_of(*law, number) for number in range(-(-draws // AT_ONCE))]
            values = np.concatenate([np.zeros((0, DIM)), *noise])[:draws]
            found.append(values @ self.direction + offset > 0)
        return found

    def drawn(self, sampler: SamplerSpec) -> Drawn:
        """Both stages: what a certificate gets to see."""
        n0 = np.full(len(self.offset), sampler.n0)
        first = as_counts(self.hits(Measurement("counts", self.noise, Stream.SELECTION, n0)))
        return second_stage(sampler, self.noise, first, self.hits, self.seed)


@lru_cache(maxsize=256)
def noise_of(noise: AdditiveNoise, seed: int, stream: int, image: int, parameter: float | None, number: int):
    """float32 [AT_ONCE, DIM]: the noise of so many draws of an image, from draw number * AT_ONCE on."""
    draw = number * AT_ONCE + torch.arange(AT_ONCE)
    more = {} if parameter is None else {"parameter": torch.full((AT_ONCE,), parameter, dtype=torch.float64)}
    key = Key(torch.full((AT_ONCE,), image), draw, seed=seed, stream=stream, **more)
    return noise.sample(SHAPE, key).flatten(1).numpy()


def as_counts(hits: list[np.ndarray]) -> np.ndarray:
    """int64 [images, 2] from what each draw hit."""
    return np.array([[len(one) - one.sum(), one.sum()] for one in hits], np.int64).reshape(-1, 2)


def second_stage(sampler: SamplerSpec, noise: NoiseSpec, first: np.ndarray, hits, seed: int = 3) -> Drawn:
    """Plan, measure and stop as the stages of the pipeline do. hits: measurement → for each image bool [draws]."""
    plan = planned(sampler, noise, first)
    arrays = {}
    for measurement in sampler.measurements(sampler.planned(plan_columns(plan), noise, DIM)):
        made = hits(measurement)
        if measurement.rule is not None:
            made, arrays["decided"] = stopped(made, measurement)
            arrays["drawn"] = np.array([len(one) for one in made])
            plan = plan.assign(n=arrays["drawn"])
        arrays[measurement.name] = as_counts(made)
    counts = arrays.pop("counts")
    return Drawn(plan, counts, noise, DIM, seed, arrays)


def planned(sampler: SamplerSpec, noise: NoiseSpec, first: np.ndarray) -> pd.DataFrame:
    """The plan's table, as `write_plan` makes it."""
    images = len(first)
    return plan_rows(sampler, noise, DIM, np.arange(images), np.ones(images, np.int64), first, np.zeros(images))


def stopped(hits: list[np.ndarray], measurement: Measurement) -> tuple[list[np.ndarray], np.ndarray]:
    """The draws up to where the rule ended each image, and what it decided."""
    found, decisions = [], []
    for one, chosen in zip(hits, measurement.selected, strict=True):
        decided, finished, look = np.array([-1.0]), np.array([False]), -1
        while not finished[0]:
            look += 1
            right = (one if chosen == 1 else ~one)[: measurement.rule.looks[look]]
            decided, finished = measurement.rule.judge(look, np.array([right.sum()]), decided)
        found.append(one[: measurement.rule.looks[look]])
        decisions.append(decided[0])
    return found, np.array(decisions)
