"""Shares and times as people read them."""

import time

LONGEST = 200
"""Characters of a name that people give."""


def name_of(text: str) -> str:
    """A name that people give, as pages show it: in one line, without characters that have no shape, and not too long."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:LONGEST]


def percent(count: int, drawn: int) -> str:
    """A share, with as many digits as tell it from nothing and from all."""
    share = 100 * count / drawn
    return "< 0.01 %" if 0 < share < 0.01 else "> 99.99 %" if 99.99 < share < 100 else f"{share:.2f} %"


def rounded(number: int) -> int:
    """A number to two digits."""
    return int(float(f"{number:.1e}"))


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def ago(when: float) -> str:
    """How long ago."""
    return "just now" if time.time() - when < 5 else f"{duration(time.time() - when)} ago"
