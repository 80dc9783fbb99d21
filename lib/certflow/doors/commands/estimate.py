"""Estimate the table of a model from some 130 draws of each image, before hours are spent on it.

Estimated, not certified: no image gets a certificate. There is a row for each radius: the certified accuracy that N draws per
image are expected to give, with a 95 % interval for the population that the images come from (only its upper end where so few
draws do not suffice). The true classes of the images are needed.
"""

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.doors.answers import record_of, resumable, write
from certflow.doors.arguments import NORM, add_images, add_model, add_noise, add_output
from certflow.doors.asking import asked
from certflow.doors.entries import entry
from certflow.report.numbers import counted

if TYPE_CHECKING:
    import pandas as pd

    from certflow.certify.preview import Preview
    from certflow.stats.estimate import Estimate

HELP = "what the table would be, from a few draws of each image: estimated, not certified"
RADII = "0,0.25,0.5,0.75,1,1.25,1.5"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_model(parser)
    add_images(parser)
    add_noise(parser)
    own = parser.add_argument_group("estimate")
    own.add_argument(
        "--radii", type=_radii, default=_radii(RADII), metavar="R,R,...", help=f"radii of the table ({RADII})"
    )
    own.add_argument("--n", type=int, default=100_000, help="draws per image of that table (100,000)")
    own.add_argument("--norm", choices=["l1", "l2", "linf"], help=NORM)
    own.add_argument(
        "--sampler",
        default="pilot",
        metavar="KIND",
        help="sampler that makes the few draws: a kind, or its entry as JSON (pilot)",
    )
    add_output(parser)


def run(given: argparse.Namespace) -> int:
    """Draw, estimate, write."""
    from certflow.certify.previewing import previewed
    from certflow.noise.radii import usual_norm
    from certflow.sampling.arguments import checked_alpha, checked_draws
    from certflow.sampling.base import SamplerSpec
    from certflow.sampling.engine import Reader
    from certflow.stats.limits import USUAL_ALPHA

    n, alpha = checked_draws("n", given.n), checked_alpha(USUAL_ALPHA if given.alpha is None else given.alpha)
    sampler = entry(SamplerSpec, given.sampler, arithmetic=given.arithmetic)
    what = asked(given)
    norm = given.norm or usual_norm(what.noise.kind)
    if what.given.labels is None:
        raise ValueError("--labels: an estimate needs the true classes of the images; give them")
    record = record_of(what, given.seed, sampler=sampler.canonical())
    with resumable(given, what, record) as running:
        made, seconds = previewed(
            what.base,
            Reader(what.given.read),
            what.noise,
            sampler,
            what.given.labels,
            n=n,
            alpha=alpha,
            norm=norm,
            seed=given.seed,
            index=what.given.index,
            running=running,
        )
        found, area = made.accuracy(np.array(given.radii)), made.radius()
        record |= {"estimated": {"n": n, "alpha": alpha, "norm": norm}, "certified": False}
        summary = _summary(made, area, sampler.n0, float(seconds.sum()))
        line = _line(given.radii, found, summary, n)
        write(given, _table(given.radii, found), record, summary, line)
    return 0


def _table(radii: list[float], found: "Estimate") -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({"radius": radii, "estimated_accuracy": found.value, "low": found.low, "high": found.high})


def _summary(made: "Preview", area: "Estimate", n0: int, seconds: float) -> dict[str, Any]:
    """n0: draws of each image in stage 1; seconds: of both stages."""
    from certflow.sampling.ways import WAYS

    each = n0 + float(made.draws.mean())
    per_draw = seconds / max(each * len(made.draws), 1)
    prices = {name: way.draws for name, way in WAYS.items()} | {"estimate": each}
    return {
        "images": len(made.draws),
        "estimated_acr": {"value": float(area.value), "low": float(area.low), "high": float(area.high)},
        "seconds": seconds,
        "price": {
            name: {"draws_per_image": draws, "seconds": draws * len(made.draws) * per_draw}
            for name, draws in prices.items()
        },
    }


def _line(radii: list[float], found: "Estimate", summary: dict[str, Any], n: int) -> str:
    shown = [
        f"{radius:g}: {value:.1%} ({low:.1%} to {high:.1%})"
        if np.isfinite(value)
        else f"{radius:g}: at most {high:.1%}"
        for radius, value, low, high in zip(radii, found.value, found.low, found.high, strict=True)
    ]
    prices = [
        f"{name} {price['draws_per_image']:,.0f} draws an image, {price['seconds']:,.1f} s"
        for name, price in summary["price"].items()
    ]
    images = counted(summary["images"], "image")
    return (
        f"{images}, estimated, NOT certified: with N = {n:,} the accuracy at radius {', '.join(shown)}\n"
        f"cost at the speed of this run: {'; '.join(prices)}"
    )


def _radii(text: str) -> list[float]:
    """Increasing radii from `0,0.25,0.5`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [-1.0]
    if sorted(set(found)) != found or not 0 <= found[0] <= found[-1] < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of increasing radii such as {RADII}")
    return found
