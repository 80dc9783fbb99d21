"""Paths in a configuration: which Snakemake cannot take, and which are of files that the workflow makes itself."""

import re
from pathlib import Path

MADE_HERE = "results"
"""Folder of all that the workflow makes."""


def without_braces(path: str) -> str:
    """The path itself; a ValueError where it holds a pair of braces, which Snakemake takes for a wildcard."""
    if re.search(r"\{.*\}", path):
        raise ValueError("has braces, which Snakemake takes for wildcards; rename the file or folder")
    return path


def made_here(path: str) -> bool:
    """Whether a path is that of a file that the workflow makes itself."""
    return Path(path).parts[:1] == (MADE_HERE,)
