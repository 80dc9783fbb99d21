"""Paths of the user's own files, with places in braces for what differs between the models of a method."""

from string import Formatter

from certflow.files.paths import without_braces

PLACES = ("noise", "sigma", "seed")
"""What may stand in braces: the noise entry's name, its sigma, the training seed."""


def checked_pattern(pattern: str) -> str:
    """The pattern itself, if it can be filled in; else a ValueError that says what is wrong with it."""
    try:
        names = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
        filled = fill(pattern, "name", 0.5, 0) if names <= set(PLACES) else ""
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"is not a valid pattern ({error})") from None
    if not names <= set(PLACES):
        unknown = ", ".join(f"{{{name}}}" for name in sorted(names - set(PLACES)))
        raise ValueError(f"has unknown {unknown}; known: {', '.join(f'{{{name}}}' for name in PLACES)}")
    without_braces(filled)
    return pattern


def fill(pattern: str, noise: str, sigma: float, seed: int) -> str:
    """The path for one noise entry (by name), its sigma, and a seed: `noise_{sigma:.2f}.pth` is `noise_0.50.pth` at 0.5."""
    return pattern.format(noise=noise, sigma=sigma, seed=seed)
