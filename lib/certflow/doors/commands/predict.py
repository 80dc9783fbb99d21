"""Predict the smoothed class of images, or abstain (-1), without any radius.

A class that is given is wrong with probability at most alpha: it is then not the smoothed classifier's. Nothing is said of
robustness.
"""

import argparse

from certflow.doors.answers import record_of, resumable, write
from certflow.doors.arguments import add_images, add_model, add_noise, add_output
from certflow.doors.asking import asked

HELP = "the smoothed class of each image, without a radius"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_model(parser)
    add_images(parser)
    add_noise(parser)
    parser.add_argument("--n", type=int, default=1000, help="votes per image (1,000)")
    add_output(parser)


def run(given: argparse.Namespace) -> int:
    """Vote, judge, write."""
    from certflow.certify.memory import slack_of_votes, votes
    from certflow.certify.predict import checked_votes, prediction_table
    from certflow.sampling.arguments import checked_alpha, checked_draws
    from certflow.sampling.engine import Reader

    alpha = checked_alpha(0.001 if given.alpha is None else given.alpha)
    n, arithmetic = checked_votes(checked_draws("n", given.n), alpha), given.arithmetic or "float"
    what = asked(given)
    record = record_of(what, given.seed, n=n, arithmetic=arithmetic)
    with resumable(given, what, record) as running:
        options = {"n": n, "seed": given.seed, "index": what.given.index, "arithmetic": arithmetic}
        found = votes(what.base, Reader(what.given.read), what.noise, running=running, **options)
        slack = slack_of_votes(what.noise, what.base.dim, n, arithmetic)
        table = prediction_table(found, alpha, slack, what.given.labels)
        summary = {"images": len(table), "abstained": int((table["predict"] == -1).sum())}
        line = f"{len(table)} images, alpha {alpha:g}: {summary['abstained']} abstentions"
        if "correct" in table:
            summary["accuracy"] = float(table["correct"].mean())
            line += f", {summary['accuracy']:.1%} right"
        write(given, table, {**record, "alpha": alpha}, summary, line)
    return 0
