"""List the models of the pipeline in a folder of results, and the architectures known for weights made elsewhere."""

import argparse
import json

from certflow.files.printable import printable

HELP = "the models in a folder of results, and the known architectures"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--results", default="results", metavar="FOLDER", help="folder of the pipeline's results (results)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of the models")


def run(given: argparse.Namespace) -> int:
    """Print the list."""
    from certflow.doors.catalogue import models, require_folder

    require_folder(given.results)
    found = list(models(given.results))
    if given.json:
        print(json.dumps([_plain(one) for one in found], indent=1))
        return 0
    print("\t".join(["path", "dataset", "model", "method", "noise", "seed", "MB", "modified"]))
    for one in found:
        size, when = f"{one.size / 1e6:.1f}", f"{one.modified:%Y-%m-%d %H:%M}"
        print("\t".join(map(printable, (str(one.path), *one.names.values(), size, when))))
    _architectures(given.results, len(found))
    return 0


def _plain(one) -> dict:
    about = {"size": one.size, "modified": one.modified.isoformat(), "warnings": list(one.warnings)}
    return {"path": str(one.path), "sha256": one.identity, **one.names, **about, "made": one.made}


def _architectures(results: str, found: int) -> None:
    """What else can be certified, on stderr: the list itself stays a table."""
    import sys

    from certflow.kinds.registry import kinds
    from certflow.models.published import NAMES

    if not found:
        print(f"no model below {results}/train; `make demo` trains some", file=sys.stderr)
    print(f"--arch of weights made elsewhere: {', '.join(NAMES)}", file=sys.stderr)
    print(f"--kind: {', '.join(kinds('model'))}", file=sys.stderr)
