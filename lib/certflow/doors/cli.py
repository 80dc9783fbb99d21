"""The command `certflow`."""

import argparse

from certflow import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's own); the exit status."""
    parser = argparse.ArgumentParser(
        prog="certflow", description="Certified robustness of neural networks by smoothing."
    )
    parser.add_argument("--version", action="version", version=f"certflow {__version__}")
    parser.parse_args(arguments)
    parser.print_help()
    return 0
