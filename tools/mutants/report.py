"""What came of the changes: rates per package, survivors as diffs."""

import difflib
from collections import Counter

NOTICED = ("caught", "timeout", "crash")
WANTED = 0.95


def rates(results: list[dict]) -> dict[str, Counter]:
    """Package → how many changes were tried, noticed, survived, not run by any test, listed as equivalent."""
    found: dict[str, Counter] = {}
    for result in results:
        count = found.setdefault(result["package"], Counter())
        count["tried"] += 1
        count["noticed" if result["outcome"] in NOTICED else result["outcome"]] += 1
    return found


def rate(count: Counter) -> float:
    """Share of the changes that alter something which a test noticed; 1 where there were none."""
    real = count["tried"] - count["equivalent"]
    return count["noticed"] / real if real else 1.0


def table(results: list[dict]) -> str:
    """The rates as text, a line per package."""
    lines = [f"{'package':<16}{'tried':>7}{'noticed':>9}{'survived':>10}{'not run':>9}{'equivalent':>12}{'rate':>9}"]
    for package, count in sorted(rates(results).items()):
        numbers = [count[name] for name in ("tried", "noticed", "survived", "not run", "equivalent")]
        lines.append(
            f"{package:<16}{numbers[0]:>7}{numbers[1]:>9}{numbers[2]:>10}{numbers[3]:>9}{numbers[4]:>12}{rate(count):>9.1%}"
        )
    return "\n".join(lines)


def diff(path: str, old: str, new: str) -> str:
    """One change as a diff with two lines around it."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm="", n=2)
    return "\n".join(lines)
