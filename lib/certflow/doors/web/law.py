"""What a job certifies with: noise, sampler and certificate."""

from dataclasses import dataclass
from functools import cached_property

from certflow.certify.base import CertificateSpec
from certflow.certify.live import grows
from certflow.doors.web.asked import Draws
from certflow.doors.web.card import Card
from certflow.doors.web.ways import Way, way_named
from certflow.noise.base import NoiseSpec
from certflow.sampling.base import SamplerSpec


@dataclass(frozen=True)
class Law:
    """What a job certifies with."""

    way: Way
    noise: NoiseSpec
    sampler: SamplerSpec
    certificate: CertificateSpec
    dim: int

    @property
    def specs(self) -> tuple[NoiseSpec, SamplerSpec, CertificateSpec]:
        """Noise, sampler and certificate."""
        return self.noise, self.sampler, self.certificate

    @cached_property
    def grows(self) -> bool:
        """Whether counts can grow in instalments; the number of classes makes no difference to that."""
        return grows(self.noise, self.sampler, 2, self.dim)

    @property
    def anytime(self) -> bool:
        """Whether every moment is certified."""
        return self.grows and self.certificate.sequential

    @property
    def risk(self) -> float:
        """Probability that a certificate is wrong."""
        return self.certificate.alpha


def law_of(draws: Draws, card: Card) -> Law:
    """What draws of a model are certified with; `CertflowError` where that is not possible (any more)."""
    noise = card.under(draws.sigma)
    way = way_named(draws.way, noise, card.dim)
    return Law(way, noise, *way.specs(draws.settings()), card.dim)
