"""l-infinity radii from an l2 certificate: the ball that fits inside."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from certflow.certify.base import NOTHING, CertificateSpec
from certflow.errors import ConfigError
from certflow.kinds.registry import register, revive, spec_class
from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec

if TYPE_CHECKING:
    import pandas as pd


@register("linf_from_l2")
class LinfFromL2(CertificateSpec):
    """Radius/sqrt(d) of an l2 certificate: ||x||_2 <= sqrt(d) ||x||_inf, so that the l-infinity ball lies in the l2 ball.

    Smoothing cannot do much better in l-infinity than such noise does (Blum et al. 2020; Yang et al. 2020).
    """

    kind: Literal["linf_from_l2"] = "linf_from_l2"
    norm: ClassVar[str] = "linf"
    alpha: float = Field(0.001, gt=0, lt=0.5)
    """Failure probability allowed per image: that of the l2 certificate."""
    of: dict[str, JsonValue]
    """The l2 certificate: its kind and settings, without sampler and alpha, which are those of this entry."""

    @model_validator(mode="after")
    def _of_is_l2(self) -> "LinfFromL2":
        for own in ("sampler", "alpha"):
            if own in self.of:
                raise ValueError(f"of: {own} is that of the entry itself; leave it out")
        if not isinstance(self.of.get("kind"), str):
            raise ValueError("of: say which kind of l2 certificate")
        try:
            inner = self.inner()
        except ConfigError as error:
            raise ValueError(f"of: {'; '.join(error.problems)}") from None
        except ValidationError as error:
            found = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"of: {'; '.join(found)}") from None
        if inner.norm != "l2" or inner.sequential:
            what = "decides preset l2 radii while drawing" if inner.sequential else f"states radii in {inner.norm}"
            raise ValueError(f"of: {inner.kind} {what}; an l2 certificate of a fixed number of draws is needed")
        return self

    def inner(self) -> CertificateSpec:
        """The l2 certificate."""
        kind = str(self.of["kind"])
        given = {"revision": spec_class("certificate", kind).revision, **self.of}
        return revive("certificate", {**given, "sampler": self.sampler, "alpha": self.alpha})

    @property
    def takes_slack(self) -> bool:
        """As the l2 certificate."""
        return self.inner().takes_slack

    def canonical(self) -> dict[str, Any]:
        """See `Spec.canonical`: with the defaults and the revision of the l2 certificate."""
        inner = self.inner().canonical()
        return {**super().canonical(), "of": {name: inner[name] for name in inner if name not in ("sampler", "alpha")}}

    def problems(self, noise: NoiseSpec, sampler: Spec) -> list[str]:
        """Those of the l2 certificate."""
        return self.inner().problems(noise, sampler)

    def certify(
        self,
        plan: "pd.DataFrame",
        counts: np.ndarray,
        noise: NoiseSpec,
        *,
        seed: int = 0,
        extra: Mapping[str, np.ndarray] = NOTHING,
        dim: int | None = None,
        slack: float = 0.0,
    ) -> "pd.DataFrame":
        """See `CertificateSpec.certify`. The l2 certificate's table; every radius divided by sqrt(d), rounded down, the l2
        radius kept as radius_l2, and `norm` saying which norm `radius` is in."""
        if dim is None:
            raise ValueError("dim: radii in another norm depend on the number of coordinates of an image; give it")
        options = {"slack": slack} if self.takes_slack else {}
        table = self.inner().certify(plan, counts, noise, seed=seed, extra=extra, dim=dim, **options)
        radius = table["radius"].to_numpy()
        columns = [name for name in table.columns if name.startswith("radius_")]
        scaled = {name: linf_radius(table[name].to_numpy(), dim) for name in ("radius", *columns)}
        return table.assign(**scaled, radius_l2=radius, norm="linf")


def linf_radius(radius: np.ndarray, dim: int) -> np.ndarray:
    """radius/sqrt(dim), rounded down."""
    return np.asarray(radius, np.float64) / np.sqrt(dim) * (1 - 4e-16)
