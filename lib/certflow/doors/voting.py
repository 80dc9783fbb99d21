"""Votes on images, for the sub-commands that ask for no radius."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certflow.doors.answers import record_of, resumable
from certflow.doors.arguments import add_images, add_model, add_noise, add_output
from certflow.doors.asking import asked

if TYPE_CHECKING:
    import numpy as np

    from certflow.doors.asking import Asked


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_model(parser)
    add_images(parser)
    add_noise(parser)
    parser.add_argument("--n", type=int, default=1000, help="votes per image (1,000)")
    add_output(parser)


@dataclass(frozen=True)
class Voted:
    """The votes on what was asked about, and the record of what they depend on."""

    asked: "Asked"
    votes: "dict[str, np.ndarray]"
    """As `certflow.certify.memory.votes` gives them."""
    record: dict[str, Any]
    slack: float
    """By how much the votes of an image may miss the law."""


@contextmanager
def voted(given: argparse.Namespace, n: int) -> Iterator[Voted]:
    """n votes on each image. Partial counts of a killed run are forgotten when the block ends without an error."""
    from certflow.certify.memory import slack_of_votes, votes
    from certflow.sampling.engine import Reader

    arithmetic = given.arithmetic or "float"
    what = asked(given)
    record = record_of(what, given.seed, n=n, arithmetic=arithmetic)
    with resumable(given, what, record) as running:
        options = {"n": n, "seed": given.seed, "index": what.given.index, "arithmetic": arithmetic}
        found = votes(what.base, Reader(what.given.read), what.noise, running=running, **options)
        yield Voted(what, found, record, slack_of_votes(what.noise, what.base.dim, n, arithmetic))
