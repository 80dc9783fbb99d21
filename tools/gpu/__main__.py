"""Ask a GPU everything that only it can tell, within nine minutes: `tools/gpu.sh`."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from tools.gpu.page import page
from tools.gpu.running import kept, run_all
from tools.gpu.steps import ROOT, steps

BUDGET = 540.0


def main(arguments: list[str] | None = None) -> int:
    """0 where every step is done, else 1: run it again."""
    parser = argparse.ArgumentParser(prog="tools/gpu.sh", description=__doc__)
    parser.add_argument("steps", nargs="*", help="names of steps, or beginnings of them (default: all, in their order)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--seconds", type=float, default=BUDGET, help="for all steps of this run (default: %(default)g)"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "results/gpu", help="default: results/gpu")
    options = parser.parse_args(arguments)
    chosen = [step for step in steps(options.device) if not options.steps or step.name.startswith(tuple(options.steps))]
    if not chosen:
        parser.error(f"no such step; there are {', '.join(step.name for step in steps(options.device))}")
    if options.device == "cuda" and not _has_gpu():
        print("tools/gpu.sh: torch sees no GPU; DEVICE=cpu tries the script at toy sizes", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        records = run_all(chosen, options.folder, options.seconds, _commit())
    finally:  # what was found until then is shown, however the run ends
        found = kept(options.folder / "gpu.json")
        shown = {step.name: found[step.name] for step in steps(options.device) if step.name in found}
        (options.folder / "gpu.md").write_text(page(shown, options.device), encoding="utf-8")
        print(f"numbers  {options.folder / 'gpu.json'}\npage     {options.folder / 'gpu.md'}")
    return 0 if all(records.get(step.name, {}).get("status") == "done" for step in chosen) else 1


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _commit() -> str:
    """The commit of the code, marked where files differ from it; `unknown` outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
