"""Predict the smoothed class of images, or abstain (-1), without any radius.

The class is another one than the smoothed classifier's with probability at most alpha. Nothing is claimed about robustness.
"""

import argparse

from certflow.doors.answers import write
from certflow.doors.voting import add, voted
from certflow.report.numbers import counted

__all__ = ["HELP", "add", "run"]
HELP = "the smoothed class of each image, without a radius"


def run(given: argparse.Namespace) -> int:
    """Vote, judge, write."""
    from certflow.certify.predict import checked_votes, prediction_table
    from certflow.sampling.arguments import checked_alpha, checked_draws
    from certflow.stats.limits import USUAL_ALPHA

    alpha = checked_alpha(USUAL_ALPHA if given.alpha is None else given.alpha)
    with voted(given, checked_votes(checked_draws("n", given.n), alpha)) as found:
        table = prediction_table(found.votes, alpha, found.slack, found.asked.given.labels)
        summary = {"images": len(table), "abstained": int((table["predict"] == -1).sum())}
        abstentions = counted(summary["abstained"], "abstention")
        line = f"{counted(len(table), 'image')}, alpha {alpha:g}: {abstentions}"
        if "correct" in table:
            summary["accuracy"] = float(table["correct"].mean())
            line += f", {summary['accuracy']:.1%} right"
        write(given, table, {**found.record, "alpha": alpha}, summary, line)
    return 0
