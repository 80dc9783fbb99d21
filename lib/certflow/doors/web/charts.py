"""Numbers to positions in a picture; templates write them out as SVG, which takes its colours from the style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import special

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 36, 28, 44
PROBABILITIES = (0.5, 0.9, 0.99, 0.999, 0.99999)
LOWEST_Z, LEAST_Z = -0.6, 2.6
"""The interval's axis begins below 1/2 and reaches at least to 0.995."""
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Interval:
    """A probability's bounds on an axis on which radii under Gaussian noise are even; positions in percent."""

    lower: float
    point: float
    upper: float
    half: float
    ticks: Sequence[Tick]


@dataclass(frozen=True)
class Growth:
    """Radius against the number of draws; positions in a picture of WIDTH x HEIGHT."""

    best: str
    """Points of the step line of what is certified."""
    now: str
    """Points of the line of what the counts so far give."""
    most: str
    """Points of the line that no image can be above: what the same number of hits would give."""
    end: tuple[float, float]
    """Where the newest point is."""
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = field(default=WIDTH - RIGHT)
    top: int = TOP
    bottom: int = field(default=HEIGHT - BOTTOM)


def interval(lower: float | None, point: float | None, upper: float | None) -> Interval | None:
    """The chart of p_A; None before the first draw."""
    if point is None or lower is None:
        return None
    upper = 1.0 if upper is None else upper
    largest = max(LEAST_Z, min(5.2, max(map(_z, (lower, min(upper, 1 - 1e-7)))) + 0.4))
    place = lambda p: 100 * (min(max(_z(p), LOWEST_Z), largest) - LOWEST_Z) / (largest - LOWEST_Z)  # noqa: E731
    ticks = [Tick(place(p), f"{p:g}") for p in PROBABILITIES if LOWEST_Z < _z(p) < largest - 0.1]
    return Interval(place(lower), place(point), place(upper), place(0.5), ticks)


def growth(moments: Sequence[dict[str, Any]], until: int, most: Sequence[tuple[int, float]]) -> Growth | None:
    """The chart of the radius; None before the first draw. most: (draws, largest radius possible) in order."""
    shown = [moment for moment in moments if moment["drawn"] > 0]
    if not shown:
        return None
    first = min(shown[0]["drawn"], max(until // 10, 1))
    highest = max([radius for _, radius in most] + [moment["best"] for moment in shown] + [1e-3]) * 1.06
    x = _log_axis(first, max(until, shown[-1]["drawn"], first + 1))
    y = lambda radius: round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * radius / highest, 2)  # noqa: E731
    best, height = [], y(shown[0]["best"])
    for moment in shown:
        best += [(x(moment["drawn"]), height), (x(moment["drawn"]), y(moment["best"]))]
        height = y(moment["best"])
    now = [(x(moment["drawn"]), y(moment["radius"])) for moment in shown]
    limit = [(x(drawn), y(radius)) for drawn, radius in most if drawn >= first]
    return Growth(
        best=_points(best),
        now=_points(now),
        most=_points(limit),
        end=best[-1],
        x_ticks=[Tick(x(10**power), _power(power)) for power in _powers(first, until)],
        y_ticks=[Tick(y(value), f"{value:g}") for value in even_ticks(highest)],
    )


def curve(radii: Sequence[float], right: Sequence[bool]) -> Growth | None:
    """Certified accuracy against radius, of rows that are finished; None where there are none."""
    if not radii:
        return None
    farthest = (max(radii) or 0.1) * 1.05
    x = lambda radius: round(LEFT + (WIDTH - LEFT - RIGHT) * radius / farthest, 2)  # noqa: E731
    y = lambda share: round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 2)  # noqa: E731
    held = sorted(radius for radius, ok in zip(radii, right, strict=True) if ok)
    points, left = [(x(0.0), y(len(held) / len(radii)))], len(held)
    for radius in held:
        points += [(x(radius), y(left / len(radii))), (x(radius), y((left - 1) / len(radii)))]
        left -= 1
    return Growth(
        best=_points([*points, (x(farthest), y(0.0))]),
        now="",
        most="",
        end=points[0],
        x_ticks=[Tick(x(value), f"{value:g}") for value in (0.0, *even_ticks(farthest))],
        y_ticks=[Tick(y(share), f"{share:.0%}") for share in (0.25, 0.5, 0.75, 1.0)],
    )


def even_ticks(highest: float) -> list[float]:
    """Round numbers from above 0 up to `highest`, some four of them."""
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in STEPS if power * factor >= rough * 0.999)
    return [round(step * number, 10) for number in range(1, int(highest / step) + 1)]


def _log_axis(first: int, last: int) -> Callable[[float], float]:
    low, high = math.log10(first), math.log10(last)
    return lambda drawn: round(LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(drawn) - low) / (high - low), 2)


def _powers(first: int, last: int) -> range:
    return range(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)


def _power(power: int) -> str:
    return f"{10**power:,}" if power < 6 else f"{10 ** (power - 6):,} million"


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _z(p: float) -> float:
    return float(special.ndtri(min(max(p, 1e-9), 1 - 1e-9)))
