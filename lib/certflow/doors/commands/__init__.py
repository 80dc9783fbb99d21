"""The sub-commands of `certflow`: one module each, called as the command.

A module states `HELP`, `add(parser)` for its arguments and `run(given) -> int` for its work and exit status; its docstring is
the command's description. Modules import nothing heavy before `run`. A new one needs no entry anywhere.
"""

import importlib
from pathlib import Path
from types import ModuleType


def commands() -> dict[str, ModuleType]:
    """Name of each sub-command → its module, sorted."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}
