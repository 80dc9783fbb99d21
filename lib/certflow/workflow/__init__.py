"""The only package that knows what a Snakemake job looks like."""

import os
from pathlib import Path


def expose(root: str | Path) -> None:
    """Let scripts that this process starts import `certflow` from the source root, whatever their working directory."""
    paths = [str(Path(root).resolve()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
