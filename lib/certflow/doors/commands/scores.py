"""Count how often each class is given under noise: the smoothed classifier's scores.

They are shares of n votes (columns score_0, score_1, ...), estimates without a guarantee, from the same draws as `predict`.
"""

import argparse

from certflow.doors.answers import record_of, resumable, write
from certflow.doors.arguments import add_images, add_model, add_noise, add_output
from certflow.doors.asking import asked

HELP = "the share of votes for each class, for each image"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_model(parser)
    add_images(parser)
    add_noise(parser)
    parser.add_argument("--n", type=int, default=1000, help="votes per image (1,000)")
    add_output(parser)


def run(given: argparse.Namespace) -> int:
    """Vote, divide, write."""
    from certflow.certify.memory import votes
    from certflow.certify.predict import score_table
    from certflow.sampling.arguments import checked_draws
    from certflow.sampling.engine import Reader

    n, arithmetic = checked_draws("n", given.n), given.arithmetic or "float"
    what = asked(given)
    record = record_of(what, given.seed, n=n, arithmetic=arithmetic)
    with resumable(given, what, record) as running:
        options = {"n": n, "seed": given.seed, "index": what.given.index, "arithmetic": arithmetic}
        found = votes(what.base, Reader(what.given.read), what.noise, running=running, **options)
        table = score_table(found, what.given.labels)
        write(given, table, record, {"images": len(table)}, f"{len(table)} images, {n} votes each")
    return 0
