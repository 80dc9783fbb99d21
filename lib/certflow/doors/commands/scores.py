"""Count how often each class is given under noise: the smoothed classifier's scores.

Scores are shares of n votes (columns score_0, score_1, ...): estimates without a guarantee, from the same draws as `predict`.
"""

import argparse

from certflow.doors.answers import write
from certflow.doors.voting import add, voted
from certflow.report.numbers import counted

__all__ = ["HELP", "add", "run"]
HELP = "the share of votes for each class, for each image"


def run(given: argparse.Namespace) -> int:
    """Vote, divide, write."""
    from certflow.certify.predict import score_table
    from certflow.sampling.arguments import checked_draws

    n = checked_draws("n", given.n)
    with voted(given, n) as found:
        table = score_table(found.votes, found.asked.given.labels)
        line = f"{counted(len(table), 'image')}, {counted(n, 'vote')} each"
        write(given, table, found.record, {"images": len(table)}, line)
    return 0
