"""Where Snakemake cannot run jobs, said before it tries: it puts some paths into commands and templates as they are."""

import re
from pathlib import Path

SPLIT = re.compile(r"[\s\"'`\\$&|;<>()*?\[\]{}]")
"""What a shell takes apart or replaces where it stands without quotes. Letters of other alphabets are none of it."""


def unusable(code: str | Path, python: str) -> list[str]:
    """One line for each path that jobs would fail at.

    code: the folder of the workflow, in whose name Snakemake takes braces for wildcards. python: the interpreter of jobs, which
    it starts through a shell without quoting.
    """
    lines = []
    if set("{}") & set(str(code)):
        lines.append(f"{code}: Snakemake cannot run jobs from a folder with braces in its name; rename it")
    if SPLIT.search(python):
        lines.append(
            f"{python}: Snakemake cannot start jobs by a Python whose path has spaces, quotes or the like; move the project "
            "to a folder without them and run `make env` there, or use a Python from elsewhere"
        )
    return lines
