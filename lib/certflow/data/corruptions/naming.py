"""How a set of corrupted copies is called in paths: `<images>@<entry>@<corruption>`."""

MARK = "@"
"""Occurs in no entry's name."""


def copies_name(images: str, entry: str, corruption: str) -> str:
    """The name of the copies of an `images` entry under one corruption of an entry of `corruptions`."""
    return MARK.join((images, entry, corruption))


def copies_parts(name: str) -> tuple[str, str | None, str | None]:
    """The `images` entry, the `corruptions` entry and the corruption in a name; the last two None for clean images."""
    images, *corrupted = name.split(MARK)
    entry, corruption = corrupted or (None, None)
    return images, entry, corruption
