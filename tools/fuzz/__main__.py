"""Damage files of every format and print what their readers made of them.

`python -m tools.fuzz` (or `make fuzz`): 20,000 mutations of every format, in as many processes as there are cores. Finished
blocks are kept in a file, so that an interrupted run goes on where it was. Ends with 1 where a changed file was accepted, or
anything but an `ArtefactError` escaped.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from tools.fuzz.samples import SAMPLES
from tools.fuzz.trials import OUTCOMES, Tally, fuzz, without_sample

BLOCK = 500
"""Mutations that one process does at a time; each block has a seed of its own."""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if without_sample():
        print(f"formats without a sample in tools/fuzz/samples.py: {', '.join(without_sample())}", file=sys.stderr)
        return 1
    numbers = range(math.ceil(options.mutations / BLOCK))
    blocks = [(name, options.seed * 1_000_000 + number) for name in options.formats for number in numbers]
    done = _finished(options.done)
    with ProcessPoolExecutor(options.processes) as pool, open(options.done, "a") as journal:
        waiting = [pool.submit(block, *key) for key in blocks if key not in done]
        for future in as_completed(waiting):
            line = future.result()
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            done[line["format"], line["seed"]] = line
    return report(options.formats, [done[key] for key in blocks])


def block(name: str, seed: int) -> dict:
    """The outcomes of one block, as a line of the file of finished blocks."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="certflow-fuzz-") as folder:
        tally = fuzz(name, BLOCK, seed, Path(folder))
    return {"format": name, "seed": seed, "counts": tally.counts, "examples": tally.examples}


def report(formats: Iterable[str], lines: Iterable[dict]) -> int:
    """Print a table with a row per format; 1 where something occurred that must not."""
    tallies = {name: Tally() for name in formats}
    for line in lines:
        tallies[line["format"]].counts.update(line["counts"])
        tallies[line["format"]].examples |= line["examples"]
    print(f"{'format':20}{'mutations':>12}" + "".join(f"{outcome:>14}" for outcome in OUTCOMES))
    for name, tally in tallies.items():
        counts = "".join(f"{tally.counts[outcome]:>14,}" for outcome in OUTCOMES)
        print(f"{name:20}{tally.counts.total():>12,}{counts}")
    examples = [f"{name}: {what}: {one}" for name, t in tallies.items() for what, one in t.examples.items()]
    print("\n".join(examples) or "no change was accepted, and nothing but ArtefactError escaped")
    return int(bool(examples))


def _finished(path: Path) -> dict[tuple[str, int], dict]:
    """Blocks of an earlier run, by format and seed; a line that a kill has cut off counts as not done."""
    found = {}
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[line["format"], line["seed"]] = line
    return found


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=20_000, help=f"of every format, in whole blocks of {BLOCK}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--formats", nargs="+", default=sorted(SAMPLES), choices=sorted(SAMPLES), metavar="FORMAT")
    parser.add_argument("--done", type=Path, help="file of finished blocks; delete it to begin anew")
    options = parser.parse_args(arguments)
    if options.mutations < 1:
        parser.error("--mutations: at least 1 is needed, or nothing is tried")
    options.done = options.done or Path(tempfile.gettempdir()) / f"certflow-fuzz-{os.getuid()}-{options.seed}.jsonl"
    return options


if __name__ == "__main__":
    sys.exit(main())
