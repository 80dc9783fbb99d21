"""Text that others may have written, such as names in their files, for a terminal to show and not to obey."""


def printable(text: str) -> str:
    r"""The text in one line; signs without a shape (ESC, line breaks, marks of direction) as Python writes them, `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
