"""Which architectures timm knows. For known names this takes milliseconds: its sources are searched, not imported.

Importing timm takes seconds and torch; it is asked itself only where the sources do not show a name.
"""

import difflib
import importlib.util
from functools import cache
from pathlib import Path


def unknown(name: str) -> str | None:
    """What is wrong with a model's name, tag of its pretrained weights included; None where timm has such a model."""
    return None if _shown(name) else _asked(name)


def _shown(name: str) -> bool:
    """Whether timm's sources define a model of this name (or list the name with its tag)."""
    mark = f'"{name}"' if "." in name else f"\ndef {name}("
    marks = {mark, mark.replace('"', "'")}
    return any("@register_model" in text and any(mark in text for mark in marks) for text in _sources())


@cache
def _sources() -> tuple[str, ...]:
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return ()
    folder = Path(found.origin).parent / "models"
    return tuple(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))


def _asked(name: str) -> str | None:
    import timm

    if not timm.is_model(name):
        return f"timm has no model {name!r}; {close(name, timm.list_models())}"
    tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if "." in name and name not in tags:
        return f"timm has no weights {name!r}; {close(name, tags)}"
    return None


def close(name: str, known: list[str]) -> str:
    """The names closest to one that is not among them, as messages say it."""
    names = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or [n for n in known if n.startswith(name[:4])][:5]
    return f"close: {', '.join(names)}" if names else "see timm.list_models()"
