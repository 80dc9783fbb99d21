"""What a job certifies with: noise, sampler and certificate."""

from dataclasses import dataclass

from certflow.certify.base import CertificateSpec
from certflow.certify.live import grows
from certflow.doors.web.asked import AskedCertify
from certflow.doors.web.cards import Card
from certflow.doors.web.job import Job
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
    grows: bool

    @property
    def anytime(self) -> bool:
        """Whether every moment is certified."""
        return self.grows and self.certificate.sequential

    @property
    def risk(self) -> float:
        """Probability that a certificate is wrong."""
        return self.certificate.alpha


def law_of(job: Job[AskedCertify], card: Card) -> Law:
    """The specifications that a job was asked for; ValueError where they are not possible (any more)."""
    draws = job.asked.draws
    noise = card.under(draws.sigma)
    way = way_named(draws.way, noise, card.dim)
    sampler, certificate = way.specs(draws.settings())
    return Law(way, noise, sampler, certificate, card.dim, grows(noise, sampler, 2, card.dim))
