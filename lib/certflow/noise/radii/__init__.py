"""Radii by noise and norm: how far an image may be moved before the class that it mostly gets under noise can change.

One file `kinds/<noise kind>.py` for each kind of noise. Its `NORMS` says what is known in which norm.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from certflow.noise.base import NoiseSpec, checked_noise
from certflow.noise.radii.inverse import least_failure

Norm = Literal["l1", "l2", "linf"]
RadiusOf = Callable[[np.ndarray, Any, int | None], np.ndarray]
"""Its second argument is a noise of the kind that it is about."""
RadiusOfTwo = Callable[[np.ndarray, np.ndarray, Any, int | None], np.ndarray]


@dataclass(frozen=True)
class Shift:
    """What is known of one noise in one norm. `dim`: number of coordinates of an image, None where no radius depends on it."""

    radius: RadiusOf
    """(failure, noise, dim) → float64 of the shape of `failure`: the certified radius where the selected class is missed with
    probability at most `failure` in [0, 1]. In [0,1]-pixel units, rounded down, 0 for failure >= 1/2; falls with `failure`."""
    two: RadiusOfTwo | None = None
    """(failure, other, noise, dim) → the same where besides no other class has a probability above `other`; 0 unless
    1 - failure > other. None where no such form is known."""
    closed_failure: RadiusOf | None = None
    """(radii, noise, dim) → the inverse of `radius` where it has a closed form; else it is searched for."""
    standard: Callable[[np.ndarray], np.ndarray] | None = None
    """(failure) → the radius at sigma 1, not rounded and continued beyond 1/2 by -radius(1 - failure), where radii are sigma
    times a function of the failure alone: planners then share their tables between noise levels."""
    unknown: Callable[[Any], str | None] | None = None
    """noise → why nothing is known under this instance of the kind, or None where it is; left out where it always is."""

    def failure(self, radii: np.ndarray, noise: NoiseSpec, dim: int | None) -> np.ndarray:
        """float64 of the shape of `radii` (at least 0): the largest failure that still certifies each, 0 where none does."""
        radii = np.asarray(radii, np.float64)
        if self.closed_failure is not None:
            return self.closed_failure(radii, noise, dim)
        return least_failure(lambda failure: self.radius(failure, noise, dim), radii)


@cache
def kinds_with_radii() -> tuple[str, ...]:
    """Kinds of noise of which radii are known, sorted."""
    return tuple(
        sorted(path.stem for path in (Path(__file__).parent / "kinds").glob("*.py") if path.stem != "__init__")
    )


@cache
def norms_of(kind: str) -> dict[Norm, Shift]:
    """What is known of a kind of noise, by norm, in the order of its file; empty where nothing is."""
    if kind not in kinds_with_radii():
        return {}
    return importlib.import_module(f"{__name__}.kinds.{kind}").NORMS


def usual_norm(kind: str) -> Norm:
    """The norm in which radii under a kind of noise are stated where nobody says which: l2, or the first that is known."""
    known = norms_of(kind)
    return "l2" if "l2" in known or not known else next(iter(known))


def problem(noise: NoiseSpec, norm: Norm) -> str | None:
    """Why there is no radius in `norm` under this noise, with what there is; None where there is one."""
    shift = norms_of(noise.kind).get(norm)
    if shift is not None:
        return None if shift.unknown is None else shift.unknown(noise)
    known = ", ".join(f"{one} ({', '.join(norms_of(one))})" for one in kinds_with_radii())
    return f"no {norm} radius is known under noise of kind {noise.kind}; known: {known}"


def problems(noise: NoiseSpec, norm: Norm, two: bool = False) -> list[str]:
    """`problem` as the configuration's checks say it (empty: there is a radius). two: one from two bounds is wanted."""
    found = problem(noise, norm)
    if found:
        return [f"norm: {found}"]
    if two and norms_of(noise.kind)[norm].two is None:
        return [f"bound_form: no {norm} radius from two bounds is known for noise of kind {noise.kind}; use `one`"]
    return []


def shift_of(noise: NoiseSpec, norm: Norm) -> Shift:
    """What is known of a noise in a norm; ValueError that lists what is known where this is not."""
    found = problem(checked_noise(noise), norm)
    if found:
        raise ValueError(found)
    return norms_of(noise.kind)[norm]


def two_bounds_of(noise: NoiseSpec, norm: Norm) -> RadiusOfTwo:
    """`Shift.two` of a noise in a norm; ValueError where no radius from two bounds is known."""
    two = shift_of(noise, norm).two
    if two is None:
        raise ValueError(problems(noise, norm, two=True)[0])
    return two
