"""How lines, norms and noises are printed."""

from collections.abc import Iterable
from typing import Any

NORMS = {"l1": "ℓ1", "l2": "ℓ2", "linf": "ℓ∞"}
"""Norm of a table's radii → as it is printed."""
REPLACED = {"share": "share of words replaced", "words": "words replaced"}
"""What the strength of an attack on texts counts."""


def strength(norm: str) -> str:
    """How strong attacks are measured in this norm, in words."""
    return REPLACED.get(norm) or f"{NORMS[norm]} strength"


def level(sigma: float) -> str:
    """A noise level as tables, panels and legends print it."""
    return f"σ = {sigma:g}"


def full_name(one: Any) -> str:
    """All names that tell a line, or the row about it, from others: method, noise and certificate."""
    return ", ".join(part for part in (one.method, one.noise, one.certificate) if part)


def noise_names(entries: Iterable[tuple[str, float, str]]) -> dict[str, str]:
    """Entry of the configuration → the name that tells it from other noises of the same level; empty where none needs one.

    entries: (entry, sigma, kind) of every line; the kind is empty where a table does not say it. The name is the kind, or the
    entry itself where the kind is not known or another entry of this level has it too.
    """
    levels: dict[float, dict[str, str]] = {}
    for entry, sigma, kind in entries:
        known = levels.setdefault(sigma, {})
        known[entry] = kind or known.get(entry, "")
    if all(len(known) == 1 for known in levels.values()):
        return dict.fromkeys((entry for known in levels.values() for entry in known), "")
    return {
        entry: kind if kind and list(known.values()).count(kind) == 1 else entry
        for known in levels.values()
        for entry, kind in known.items()
    }
