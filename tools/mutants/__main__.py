"""Would the tests notice? Change the code in one place at a time, in a private copy, and run the tests that run that place.

    python tools/mutants [packages] [--number 50] [--seed 0] [--processes 1] [--minutes 60] [--unsound]
        [--untraced] [--nearest 12]

Takes minutes to hours. What was found is kept in .tools/mutants and not tried again while code and tests stay as they are, so
a run may be stopped and started again. Survivors are printed as diffs; those that alter nothing go into equivalent.txt.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import report
from runs import Runs

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stats", "certify", "sampling", "noise")
TESTS = ("tests/unit", "tests/golden", "tests/statistical", "tests/contracts")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES, help="packages of certflow (%(default)s)")
    parser.add_argument("--number", type=int, default=50, help="changes tried per package (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which changes: another seed, another sample (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="tests of so many changes at once (%(default)s)")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no change after so many minutes")
    parser.add_argument("--unsound", action="store_true", help="the changes of unsound.txt instead of random ones")
    parser.add_argument("--sources", default="lib/certflow", help="folder of the packages (%(default)s)")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="test files and folders (%(default)s)")
    parser.add_argument("--nearest", type=int, help="ask so many test files about a change, by names and imports (all)")
    parser.add_argument(
        "--untraced", action="store_true", help="ask all tests of a file, without finding what they run"
    )
    return parser.parse_args()


def main() -> int:
    asked = parsed()
    with tempfile.TemporaryDirectory(prefix="mutants.") as folder:
        with Runs(ROOT, Path(folder), asked) as runs:
            signal.signal(signal.SIGTERM, runs.stop)
            changes = runs.unsound() if asked.unsound else runs.sample(asked.packages, asked.number, asked.seed)
            results = runs.tried(changes, asked.minutes)
    for result in results:
        if result["outcome"] in ("survived", "not run"):
            print(f"\n{result['outcome']} ({result['kind']}; {result['tests']} tests run it)\n{result['diff']}")
    print(f"\n{report.table(results)}")
    below = [package for package, count in report.rates(results).items() if report.rate(count) < report.WANTED]
    if asked.unsound:
        below = [result for result in results if result["outcome"] not in report.NOTICED]
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
