"""Radii in one norm from a certificate in another: the ball that fits inside."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from certflow.certify.base import CertificateSpec, Claim, Drawn
from certflow.errors import ConfigError
from certflow.kinds.registry import register, revive, spec_class
from certflow.kinds.spec import problems_of
from certflow.noise.base import NoiseSpec
from certflow.noise.radii import Norm
from certflow.sampling.base import SamplerSpec
from certflow.stats.limits import USUAL_ALPHA

if TYPE_CHECKING:
    import pandas as pd

POWER = {"l1": 1.0, "l2": 2.0, "linf": math.inf}


@register("inscribed")
class Inscribed(CertificateSpec):
    """The radius in `norm` of the largest ball that lies inside the ball of another certificate.

    A ball of radius R in norm a contains the ball of the same radius in every norm b <= a, as |x|_a <= |x|_b, and in
    others that of radius R / d^(1/a - 1/b): R / sqrt(d) from l2 to l-infinity. In l-infinity, smoothing cannot do much better
    than Gaussian noise with this conversion (Blum et al. 2020; Yang et al. 2020).
    """

    kind: Literal["inscribed"] = "inscribed"
    example: ClassVar[dict[str, Any]] = {"norm": "linf", "of": {"kind": "neyman_pearson"}}
    alpha: float = Field(USUAL_ALPHA, ge=0, lt=0.5)
    """Failure probability allowed per image: that of the inner certificate."""
    norm: Norm
    """The norm of the ball that fits inside."""
    of: dict[str, JsonValue]
    """The inner certificate: its kind and settings, without sampler and alpha, which are those of this entry."""

    @model_validator(mode="after")
    def _of_is_a_certificate(self) -> "Inscribed":
        for own in ("sampler", "alpha"):
            if own in self.of:
                raise ValueError(f"of: {own} is that of the entry itself; leave it out")
        if not isinstance(self.of.get("kind"), str):
            raise ValueError("of: say which kind of certificate")
        if self.of["kind"] == self.kind:  # two steps give a smaller ball than one
            raise ValueError("of: is inscribed itself; give the certificate whose ball it fills")
        try:
            inner = self.inner()
        except ConfigError as error:
            raise ValueError(f"of: {'; '.join(error.problems)}") from None
        except ValidationError as error:
            raise ValueError(f"of: {'; '.join(problems_of(error))}") from None
        if not inner.fixed:
            raise ValueError(f"of: {inner.kind} decides preset radii while drawing; a fixed number of draws is needed")
        if inner.norm == self.norm:
            raise ValueError(f"of: {inner.kind} states its radii in {self.norm} already; use it as it is")
        return self

    def inner(self) -> CertificateSpec:
        """The certificate whose balls are filled."""
        kind = str(self.of["kind"])
        given = {"revision": spec_class("certificate", kind).revision, **self.of}
        return revive("certificate", {**given, "sampler": self.sampler, "alpha": self.alpha})

    @property
    def takes_slack(self) -> bool:  # ty: ignore[incompatible-property-override]  # a property of the kind elsewhere
        """As the inner certificate."""
        return self.inner().takes_slack

    @property
    def exhaustive(self) -> bool:  # ty: ignore[incompatible-property-override]  # a property of the kind elsewhere
        """As the inner certificate."""
        return self.inner().exhaustive

    @property
    def judges_label(self) -> bool:
        """As the inner certificate."""
        return self.inner().judges_label

    def claim(self, drawn: Drawn) -> Claim:
        """The inner certificate's, in this norm."""
        inner = self.inner().claim(drawn)
        return Claim(norm=self.norm, alpha=inner.alpha, domain=inner.domain)

    def canonical(self) -> dict[str, Any]:
        """See `Spec.canonical`: with the defaults and the revision of the inner certificate."""
        inner = self.inner().canonical()
        return {**super().canonical(), "of": {name: inner[name] for name in inner if name not in ("sampler", "alpha")}}

    def problems(self, noise: NoiseSpec, sampler: SamplerSpec) -> list[str]:
        """Those of the inner certificate."""
        return self.inner().problems(noise, sampler)

    def least_draws(self) -> int:
        """As the inner certificate."""
        return self.inner().least_draws()

    def certify(self, drawn: Drawn) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. The inner certificate's table with every radius made smaller, its own kept as
        radius_l2 (or the norm it is in)."""
        inner = self.inner()
        table = inner.certify(drawn)
        columns = [name for name in table.columns if name == "radius" or name.startswith("radius_")]
        scaled = {name: inscribed_radius(table[name].to_numpy(), inner.norm, self.norm, drawn.dim) for name in columns}
        return table.assign(**scaled, **{f"radius_{inner.norm}": table["radius"].to_numpy()})


def inscribed_radius(radius: np.ndarray, given: Norm, wanted: Norm, dim: int | None) -> np.ndarray:
    """float64: the radius in `wanted` of the largest ball inside the ball of that radius in `given`, rounded down.

    ValueError where it depends on the number of coordinates `dim` and that is not given.
    """
    radius = np.asarray(radius, np.float64)
    power = 1 / POWER[given] - 1 / POWER[wanted]
    if power <= 0:
        return radius
    if dim is None:
        raise ValueError("dim: radii in a larger norm depend on the number of coordinates of an image; give it")
    return radius / float(dim) ** power * (1 - 6e-16)
