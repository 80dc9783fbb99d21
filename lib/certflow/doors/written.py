"""Numbers in what people write."""

import re


def whole(text: str, low: int, high: int) -> int | None:
    """The whole number that a text is, from `low` to `high`, in ASCII digits without a sign; None for any other text."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) and low <= int(text) <= high else None
