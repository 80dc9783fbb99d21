"""How a set of corrupted copies is called in paths: `<images>@<entry>@<corruption>`."""

MARK = "@"
"""Occurs in no entry's name."""


def copies_name(images: str, entry: str, corruption: str) -> str:
    """The name of the copies of an `images` entry under one corruption of an entry of `corruptions`."""
    return MARK.join((images, entry, corruption))


def copies_parts(name: str) -> tuple[str, str, str] | tuple[str, None, None]:
    """The `images` entry, the `corruptions` entry and the corruption in a name; the last two None for clean images."""
    if MARK not in name:
        return name, None, None
    images, entry, corruption = name.split(MARK)
    return images, entry, corruption
