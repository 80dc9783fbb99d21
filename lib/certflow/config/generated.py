"""Writes what is made from the configuration's classes, schema and reference: `make schema`. `--check` compares."""

import sys
from collections.abc import Sequence

from certflow.config import reference, schema

PAGES = {schema.PATH: schema, reference.REFERENCE: reference}
"""File → the module that renders it."""


def stale() -> list[str]:
    """Names of the files that are not what the code would write."""
    return [path.name for path, page in PAGES.items() if not path.is_file() or path.read_text() != page.render()]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` say which are not up to date."""
    if "--check" in arguments:
        found = stale()
        if found:
            print(f"{', '.join(found)}: not what the code says now; run `make schema`", file=sys.stderr)
        return len(found)
    for path, page in PAGES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(page.render())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
