"""How numbers are printed. Estimates are rounded to nearest, certified numbers down."""

import numpy as np

DASH = "–"
"""Printed where a number is unknown."""
TINY = 1e-12
"""Units of the last decimal that count as rounding of the machine."""


def percent(share: float) -> str:
    """A share in percent with one decimal, rounded to nearest: it is an estimate. A dash where it is unknown."""
    return DASH if np.isnan(share) else f"{100 * share:z.1f}"


def number(value: float) -> str:
    """Three decimals."""
    return f"{value:z.3f}"


def down(value: float | None, places: int = 3) -> str:
    """`places` decimals, rounded down as what is certified must be. A dash where it is unknown.

    A number that misses the next one by `TINY` is that one: 100 times 0.29 is 28.999999999999996.
    """
    if value is None or np.isnan(value):
        return DASH
    return f"{np.floor(value * 10**places + TINY) / 10**places:.{places}f}"


def at_least(value: float) -> str:
    """A lower bound: three decimals, rounded down."""
    return f"≥ {down(value)}"


def up(value: float, places: int) -> str:
    """`places` decimals, rounded up as what is taken off must be. A number that exceeds one by `TINY` is that one."""
    return f"{np.ceil(value * 10**places - TINY) / 10**places:z.{places}f}"


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits, never in exponent form. A dash where the number is unknown or infinite."""
    if not np.isfinite(value):
        return DASH
    return f"{value:.{max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))}f}" if value else "0"


def whole(value: float) -> str:
    """A whole number with commas."""
    return f"{value:,.0f}"


def counted(number: int, what: str) -> str:
    """How many there are of something: `1 image`, `2,000 images`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def signed(text: str) -> str:
    """The text of a number with its sign, with a real minus; without one where it is printed as 0, or unknown."""
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("-")
    return text.replace("-", "−") if text.startswith("-") else f"+{text}"
