"""Certify images: a class and a radius for each, wrong with probability at most alpha.

The table has the columns of the field's scripts (idx label predict radius correct time), then n, k, p_lower and more; `foreign`
entries of the pipeline read it. Without labels, `label` and `correct` are left out. Counts are those of the pipeline.
"""

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from certflow.doors.answers import record_of, resumable, write
from certflow.doors.arguments import NORM, add_images, add_model, add_noise, add_output
from certflow.doors.asking import asked
from certflow.doors.entries import entry, fitting
from certflow.report.numbers import counted, down

if TYPE_CHECKING:
    import pandas as pd

    from certflow.certify.base import CertificateSpec, Claim
    from certflow.doors.asking import Asked
    from certflow.noise.radii import Norm
    from certflow.sampling.base import SamplerSpec

    Specs = tuple[SamplerSpec, CertificateSpec]

HELP = "a class and a certified radius for each image"
REQUIRED = 3
"""Exit status where `--require` does not hold."""
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_model(parser)
    add_images(parser)
    add_noise(parser)
    own = parser.add_argument_group("certificate")
    own.add_argument("--n0", type=int, help="draws that choose the class (100)")
    own.add_argument("--n", type=int, help="fresh draws that bound its probability (100,000)")
    own.add_argument("--norm", choices=["l1", "l2", "linf"], help=NORM)
    own.add_argument(
        "--sampler", default="fixed", metavar="KIND", help="a kind of sampler, or its entry as JSON (fixed)"
    )
    own.add_argument(
        "--certificate",
        metavar="KIND",
        help="a kind of certificate, or its entry as JSON (neyman_pearson; sequential for decide)",
    )
    own.add_argument(
        "--require",
        type=_requirement,
        action="append",
        default=[],
        metavar="SHARE@RADIUS",
        help="exit with status 3 unless that share of the images is certified with the right class at that radius, such as "
        "0.5@0.25. The share of these images is compared as it is, without an interval",
    )
    add_output(parser)


def run(given: argparse.Namespace) -> int:
    """Certify, write, and compare with what is required."""
    from certflow.certify.memory import certify, problems
    from certflow.noise.radii import usual_norm
    from certflow.sampling.engine import Reader

    specs = _specs(given, given.norm)  # what is wrong with them is said before a model is read
    what = asked(given)
    sampler, certificate = _in_usual_norm(given, specs, usual_norm(what.noise.kind))
    _check(given, what, problems(what.noise, sampler, certificate, what.base.dim))
    record = record_of(what, given.seed, sampler=sampler.canonical())
    with resumable(given, what, record) as running:
        found = certify(
            what.base,
            Reader(what.given.read),
            what.noise,
            sampler,
            certificate,
            seed=given.seed,
            index=what.given.index,
            labels=what.given.labels,
            running=running,
        )
        record |= {"certificate": certificate.canonical(), "claim": asdict(found.claim)}
        judged = sampler.judges_label or certificate.judges_label
        summary = _summary(found.table, given.require, judged)
        write(given, found.table, record, summary, _line(found.table, summary, found.claim))
    return _required(found.table, given.require)


def _specs(given: argparse.Namespace, norm: "Norm | None") -> "Specs":
    """The sampler and the certificate. Options that the sampler decides too, such as its level, go to both."""
    from certflow.certify.base import CertificateSpec
    from certflow.sampling.base import SamplerSpec

    both = {"alpha": given.alpha, "norm": norm}
    drawn = {"n0": given.n0, "n": given.n, "arithmetic": given.arithmetic}
    sampler = entry(SamplerSpec, given.sampler, **drawn, **fitting(SamplerSpec, given.sampler, **both))
    kind = given.certificate or ("sequential" if sampler.sequential else "neyman_pearson")
    return sampler, entry(CertificateSpec, kind, sampler=sampler.kind, **both)


def _in_usual_norm(given: argparse.Namespace, specs: "Specs", norm: "Norm") -> "Specs":
    """The same with radii in this norm, where neither states one and the certificate knows it."""
    stated = any("norm" in spec.model_fields_set for spec in specs)
    known = get_args(type(specs[1]).model_fields["norm"].annotation)
    return specs if stated or norm not in known else _specs(given, norm)


def _check(given: argparse.Namespace, what: "Asked", found: list[str]) -> None:
    """ValueError with every reason, before anything is drawn."""
    if given.require and what.given.labels is None:
        found = [*found, "--require: needs the true classes of the images; give --labels"]
    if found:
        raise ValueError("; ".join(found))


def _requirement(text: str) -> tuple[float, float]:
    """(share, radius) from `0.5@0.25`."""
    share, _, radius = text.partition("@")
    try:
        found = float(share), float(radius)
    except ValueError:
        found = (-1.0, -1.0)
    if not (0 <= found[0] <= 1 and 0 <= found[1] < float("inf")):
        raise argparse.ArgumentTypeError(f"{text!r} is not SHARE@RADIUS such as 0.5@0.25")
    return found


def share_at(table: "pd.DataFrame", radius: float) -> float:
    """The share of images that are right, or certified at all where no labels are known, with at least this radius."""
    from certflow.report.metrics import certified_accuracy

    held = table["correct"] == 1 if "correct" in table else table["predict"] >= 0
    return float(certified_accuracy(held, table["radius"], [radius])[0])


def _summary(table: "pd.DataFrame", required: list[tuple[float, float]], judged: bool) -> dict[str, Any]:
    """judged: whether labels were, so that nothing is predicted and nobody abstains."""
    radii = sorted(
        {*(radius for radius in RADII if radius <= table["radius"].max()), *(radius for _, radius in required)}
    )
    return {
        "images": len(table),
        **({} if judged else {"abstained": int((table["predict"] == -1).sum())}),
        "certified_accuracy" if "correct" in table else "certified": {str(r): share_at(table, r) for r in radii},
        "seconds": float(table["seconds"].sum()),
    }


def _line(table: "pd.DataFrame", summary: dict[str, Any], claim: "Claim") -> str:
    shares = summary.get("certified_accuracy", summary.get("certified"))
    what = "certified and right" if "correct" in table else "certified"
    listed = ", ".join(f"at {radius}: {share:.1%}" for radius, share in shares.items())
    return f"{counted(len(table), 'image')}, {claim.norm} radius, alpha {claim.alpha:g}: {what} {listed}"


def _required(table: "pd.DataFrame", required: list[tuple[float, float]]) -> int:
    """0, or `REQUIRED` with a line for each requirement that does not hold: what was found is rounded down, never to it."""
    each = [(share, radius, share_at(table, radius)) for share, radius in required]
    missed = [(share, radius, found) for share, radius, found in each if found < share]
    for share, radius, found in missed:
        print(
            f"required: {100 * share:g}% right at radius {radius:g}, found {down(100 * found, 1)}% (the plain share of "
            f"{counted(len(table), 'image')}, without an interval)",
            file=sys.stderr,
        )
    return REQUIRED if missed else 0
