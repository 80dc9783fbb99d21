"""Numbers in what people write."""

import re
from collections.abc import Sequence

LARGEST_SIZE = (1 << 20) - 1
"""No image has more channels, rows or columns, and no model more classes."""


def whole(text: str, low: int, high: int) -> int | None:
    """The whole number that a text is, from `low` to `high`, in ASCII digits without a sign; None for any other text."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) and low <= int(text) <= high else None


def sizes(parts: Sequence[str], count: int) -> tuple[int, ...] | None:
    """`count` whole numbers from 1 to `LARGEST_SIZE`, one for each text; None for any other texts."""
    found = tuple(size for part in parts if (size := whole(part, 1, LARGEST_SIZE)) is not None)
    return found if len(found) == len(parts) == count else None
