"""Ways to certify an image: pairs of a sampler and a certificate that fit together under a noise, as the specifications say.

Nothing here names a kind that must exist: a new certificate is offered wherever its own `problems` allow it.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from certflow.certify.base import CertificateSpec
from certflow.certify.memory import problems
from certflow.config.validation import validated
from certflow.errors import ConfigError, DataError
from certflow.kinds.registry import kinds, spec_class
from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import SamplerSpec

WORDS = {
    "anytime": (
        "Valid at any moment",
        "Watch it grow, stop when you have seen enough, continue later: the radius is valid at any time.",
    ),
    "neyman_pearson": (
        "Fixed number of draws, as in papers",
        "Holds once all draws are made, not before; then the radius is slightly larger than one valid at any moment.",
    ),
    "dsrs": (
        "Double sampling",
        "Draws under a second noise too. Larger radii for models trained for it; the draws are shared between both.",
    ),
    "dssn": (
        "Every outcome counted",
        "Nothing is drawn and nothing is left to chance: the network sees every outcome of the noise. For 8-bit images.",
    ),
    "sequential": (
        "Preset radii, decided early",
        "The largest of a list of radii, with as few draws as it takes.",
    ),
}
"""Kind of certificate → title and explanation; for others these are the kind and the first paragraph of its description."""
FIRST = ("anytime", "neyman_pearson")
"""Kinds of certificates that come first, if they are possible."""
SIMPLEST = "fixed"
"""The kind of sampler that is preferred."""


@dataclass(frozen=True)
class Way:
    """A certificate in a norm, and the sampler whose counts it reads."""

    certificate: str
    sampler: str
    norm: Norm

    @property
    def name(self) -> str:
        """Its name in forms."""
        return f"{self.certificate}.{self.norm}"

    @property
    def title(self) -> str:
        """Its name on pages."""
        return (
            WORDS[self.certificate][0] if self.certificate in WORDS else self.certificate.replace("_", " ").capitalize()
        )

    @property
    def about(self) -> str:
        """Its explanation on pages."""
        if self.certificate in WORDS:
            return WORDS[self.certificate][1]
        return " ".join((inspect.getdoc(spec_class("certificate", self.certificate)) or "").split("\n\n")[0].split())

    def specs(self, draws: Mapping[str, Any]) -> tuple[SamplerSpec, CertificateSpec]:
        """Sampler and certificate with these settings (n0, n, alpha, arithmetic), as far as they have them.

        A sampler of two laws shares n between them. `ConfigError` for values that cannot be.
        """
        sampler, certificate = spec_class("sampler", self.sampler), spec_class("certificate", self.certificate)
        n = draws.get("n")
        wanted = {**draws, "n_max": n, "norm": self.norm}
        if n is not None and takes(sampler, "n_q"):
            wanted |= {"n": n - n // 2, "n_q": n // 2}
        return _made(sampler, wanted), _made(certificate, {**wanted, "sampler": self.sampler})


@lru_cache(maxsize=256)
def ways(noise: NoiseSpec, dim: int) -> tuple[Way, ...]:
    """Every way to certify images of `dim` coordinates under this noise, each certificate and norm once."""
    found: dict[str, Way] = {}
    for name in sorted(
        kinds("certificate"), key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)
    ):
        for way in _of(name):
            if way.name not in found and possible(way, noise, dim):
                found[way.name] = way
    return tuple(found.values())


def way_named(name: str, noise: NoiseSpec, dim: int) -> Way:
    """The way of this name; a `DataError` with the possible ones if there is none."""
    offered = ways(noise, dim)
    for way in offered:
        if name == way.name:
            return way
    known = ", ".join(way.name for way in offered) or "none"
    raise DataError(f"certificate: {name!r} is not possible under this model's noise; possible: {known}")


def possible(way: Way, noise: NoiseSpec, dim: int) -> bool:
    """Whether noise, sampler and certificate go together."""
    try:
        sampler, certificate = way.specs({})
    except ConfigError:
        return False
    return not problems(noise, sampler, certificate, dim)


def takes(cls: type[Spec], name: str) -> bool:
    """Whether a specification has such a setting, and more than one value for it."""
    field = cls.model_fields.get(name)
    if field is None:
        return False
    return not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1)


def _of(certificate: str) -> Iterator[Way]:
    """All pairs of a certificate with samplers and norms, the simplest sampler first."""
    samplers = sorted(kinds("sampler"), key=lambda name: name != SIMPLEST)
    for sampler in samplers:
        for norm in get_args(Norm):
            yield Way(certificate, sampler, norm)


def _made(cls: type[Spec], wanted: Mapping[str, Any]) -> Any:
    """The specification with those settings that it has. A setting with one value must be that value where it is the norm."""
    fields = {name: value for name, value in wanted.items() if value is not None and takes(cls, name)}
    fixed = cls.model_fields.get("norm")
    if fixed is not None and not takes(cls, "norm") and wanted["norm"] not in get_args(fixed.annotation):
        raise ConfigError([f"norm: {cls.__name__} states its radii in {get_args(fixed.annotation)[0]}"])
    return validated(cls, fields)
