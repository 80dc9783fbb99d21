"""How fast devices are: measured numbers with a source, in `profiles/rates.yaml` and in files of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.config.files import read_yaml
from lib.errors import ConfigError, listed

RATES = Path(__file__).resolve().parents[2] / "profiles" / "rates.yaml"
KINDS = ("draws", "training")


@dataclass(frozen=True)
class Rates:
    """Rates of one device. `draws` and `training`: model → per second; `parameters`: model → number of weights."""

    device: str
    about: str
    draws: Mapping[str, float]
    training: Mapping[str, float]
    parameters: Mapping[str, int]
    sources: Mapping[tuple[str, str], str]
    """(`draws` or `training`, model) → where the rate is stated."""


def read_rates(device: str | None = None, own: str | Path | None = None) -> Rates:
    """The rates of `device` (default: the first of the user's file `own`, else the first that is shipped)."""
    what = "a mapping with `devices` and `models`"
    shipped, mine = read_yaml(RATES, what), read_yaml(own, what) if own else {}
    devices = {**(mine.get("devices") or {})}
    devices |= {name: entry for name, entry in shipped["devices"].items() if name not in devices}
    models = {**shipped["models"], **(mine.get("models") or {})}
    name, source = device or next(iter(devices)), str(own or RATES)
    if name not in devices:
        raise ConfigError([f"--device: no device {name!r}; known: {listed(devices)}"], source)
    tables = {kind: devices[name].get(kind) or {} for kind in KINDS}
    problems = [
        f"devices.{name}.{kind}.{model}: must be {{rate: <number above 0>, source: <text>}}, got {line!r}"
        for kind, table in tables.items()
        for model, line in table.items()
        if not _is_rate(line)
    ]
    if problems:
        raise ConfigError(problems, source)
    return Rates(
        device=name,
        about=str(devices[name].get("about", "")),
        **{kind: {model: float(line["rate"]) for model, line in table.items()} for kind, table in tables.items()},
        parameters={model: int(line["parameters"]) for model, line in models.items()},
        sources={(kind, m): str(line.get("source", "unknown")) for kind, t in tables.items() for m, line in t.items()},
    )


def _is_rate(line: Any) -> bool:
    return isinstance(line, Mapping) and isinstance(line.get("rate"), int | float) and line["rate"] > 0
