"""How noisy copies of images become what the network takes: what is kept of a clean image, and rows made from it.

Everything that differs between arithmetics and laws lies here. The engine packs rows, and counts.
"""

from collections.abc import Callable
from typing import Any, Protocol, get_args

import numpy as np
import torch

from certflow.noise.base import AdditiveNoise, Key, NoiseSpec
from certflow.noise.pieces import from_parts
from certflow.noise.splitting import Splitting
from certflow.sampling.base import Arithmetic
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast.steps import Compiled
from certflow.sampling.settings import engine_settings

GRID_TOLERANCE = 1e-4
"""How far, in grey levels, a pixel given as a float may lie from a whole one."""


class Copies(Protocol):
    """Noisy copies of images for one network, law, seed and stream."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what is held of an image."""
        ...

    @property
    def exact(self) -> bool:
        """Whether images must be 8-bit ones."""
        ...

    def hold(self, images: torch.Tensor, /) -> torch.Tensor:
        """What is kept on the device of clean images [images, *shape], uint8 or float32 in [0,1]; of type `dtype`."""
        ...

    def rows(
        self, held: torch.Tensor, image: torch.Tensor, draw: torch.Tensor, parameter: torch.Tensor | None
    ) -> torch.Tensor:
        """float32 [rows, *shape], ready for `BaseClassifier.classify`: one copy for each row.

        held: of each row's image, [rows, *shape] or [*shape] for all. image, draw: int64 [rows]. parameter: float64 [rows]
        where the law has one that differs between images.
        """
        ...


def copies_of(
    base: BaseClassifier,
    noise: NoiseSpec,
    *,
    seed: int,
    stream: int,
    arithmetic: Arithmetic,
    parameter: bool,
    every: bool = False,
) -> Copies:
    """The way to make copies; ValueError with all reasons where there is none. parameter: whether the law gets one per row.
    every: a draw's number is that of an outcome, and nothing is random."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be a whole number in [0, 2**64), got {seed!r}")
    if arithmetic not in get_args(Arithmetic):
        raise ValueError(f"arithmetic must be one of {', '.join(get_args(Arithmetic))}, got {arithmetic!r}")
    keyed = {"seed": int(seed), "stream": int(stream)}
    if arithmetic == "exact":
        problems = noise.exact_problems()
        if parameter:
            problems.append("exact arithmetic knows no noise with a parameter for each image")
        if problems:
            raise ValueError(f"arithmetic: exact: {'; '.join(problems)}")
        if every:
            return Pieces(base, lambda levels, image, draw: noise.outcome(levels, draw))
        if isinstance(noise, AdditiveNoise):
            return AddedLevels(base, noise, keyed)
        if not isinstance(noise, Splitting):
            raise ValueError(f"arithmetic: exact: copies under noise of kind {noise.kind} are not whole grey levels")
        return Pieces(base, lambda levels, image, draw: noise.pieces(levels, Key(image, draw, **keyed)))
    if every:
        raise ValueError("arithmetic: outcomes are enumerated in exact arithmetic alone")
    if isinstance(noise, AdditiveNoise):
        return Added(base, noise, keyed, parameter)
    return Distorted(base, noise, keyed)


class Added:
    """Noise that is added, in floating point: the network's shift is subtracted from the clean image, once."""

    dtype, exact = torch.float32, False

    def __init__(self, base: BaseClassifier, noise: AdditiveNoise, keyed: dict[str, int], parameter: bool):
        self.base = base
        self.noise = _on(base, lambda key: noise.sample(base.shape, key), keyed, warm=not parameter)

    def hold(self, images: torch.Tensor) -> torch.Tensor:
        """See `Copies.hold`."""
        return self.base.prepare(images)

    def rows(self, held, image, draw, parameter):
        """See `Copies.rows`."""
        return self.noise(image, draw, parameter).add_(held)


class AddedLevels:
    """Noise in whole grey levels, added to whole grey levels; only then does a floating-point number appear."""

    dtype, exact = torch.int16, True

    def __init__(self, base: BaseClassifier, noise: AdditiveNoise, keyed: dict[str, int]):
        self.base = base
        self.noise = _on(base, lambda key: noise.steps(base.shape, key), keyed, warm=True)

    def hold(self, images: torch.Tensor) -> torch.Tensor:
        """See `Copies.hold`."""
        return self.base.levels(images)

    def rows(self, held, image, draw, parameter):
        """See `Copies.rows`."""
        return self.base.from_levels(self.noise(image, draw, parameter).add_(held))


class Distorted:
    """A law that is not a sum: copies are made of the image itself, and the network's shift is subtracted from the copies."""

    dtype, exact = torch.float32, False

    def __init__(self, base: BaseClassifier, noise: NoiseSpec, keyed: dict[str, int]):
        self.base, self.noise, self.keyed = base, noise, keyed

    def hold(self, images: torch.Tensor) -> torch.Tensor:
        """See `Copies.hold`."""
        return self.base.unit(images)

    def rows(self, held, image, draw, parameter):
        """See `Copies.rows`."""
        clean = held.expand(len(image), *self.base.shape)
        copies = self.noise.copies(clean, Key(image, draw, **self.keyed, parameter=parameter))
        return copies if self.base.shift is None else copies - self.base.shift


class Pieces:
    """Grey levels that become middles of pieces in whole numbers (`certflow.noise.splitting`), random ones or one after the
    other; the network's shift is subtracted from what is shown."""

    dtype, exact = torch.int16, True

    def __init__(self, base: BaseClassifier, shown: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]):
        """shown: (levels int16 [rows, *shape] or [*shape], image, draw) → int16 [rows, *shape]."""
        self.base, self.shown = base, shown
        number = torch.zeros(1, dtype=torch.int64, device=base.device)
        shown(
            torch.zeros(base.shape, dtype=torch.int16, device=base.device), number, number
        )  # makes tables, unrecorded

    def hold(self, images: torch.Tensor) -> torch.Tensor:
        """See `Copies.hold`."""
        return self.base.levels(images)

    def rows(self, held, image, draw, parameter):
        """See `Copies.rows`."""
        copies = from_parts(self.shown(held, image, draw))
        return copies if self.base.shift is None else copies.sub_(self.base.shift)


def _on(
    base: BaseClassifier, draw: Callable[[Key], torch.Tensor], keyed: dict[str, int], warm: bool
) -> Callable[..., Any]:
    """(image, draw, parameter) → `draw` of their key. Compiled along with the network on a GPU, where it is a hundred small
    kernels otherwise; the CPU has a C version.

    warm: call it once before, as a law may make tables at its first call, which is not for compiling.
    """

    def drawn(image: torch.Tensor, number: torch.Tensor, parameter: torch.Tensor | None) -> torch.Tensor:
        return draw(Key(image, number, **keyed, parameter=parameter))

    if not (base.compiled and base.device.type == "cuda"):
        return drawn
    if warm:
        drawn(*torch.zeros(2, 1, dtype=torch.int64, device=base.device), None)
    return Compiled(drawn, base.device)


@engine_settings()
@torch.inference_mode()
def noisy_copies(
    base: BaseClassifier, image: torch.Tensor, index: int, noise: NoiseSpec, draws: int, **law: Any
) -> np.ndarray:
    """float32 [draws, channels, height, width]: the first noisy copies of an image as the engine classifies them, in [0,1]
    units, not clipped.

    image: [1, channels, height, width]. law: seed, stream and arithmetic of the draws.
    """
    made, device = copies_of(base, noise, parameter=False, **law), base.device
    at = torch.full((draws,), index, device=device)
    rows = made.rows(made.hold(image)[0], at, torch.arange(draws, device=device), None)
    return (rows if base.shift is None else rows + base.shift).float().cpu().numpy()


def check_grid(images: torch.Tensor, index: np.ndarray) -> None:
    """ValueError naming the first of the float images that has pixels which are not whole grey levels."""
    scaled = images.to(torch.float32) * 255
    off = ((scaled - scaled.round()).abs() > GRID_TOLERANCE).flatten(1).any(dim=1)
    if bool(off.any()):
        raise ValueError(
            f"image {index[int(off.nonzero()[0])]}: has pixels that are not multiples of 1/255; exact arithmetic needs 8-bit "
            "images: round them first (`quantize_input=True`: radii are then the rounded images'), or use `arithmetic: float`"
        )
