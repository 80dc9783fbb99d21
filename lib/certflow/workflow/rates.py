"""How fast devices are: measured numbers with a source, in `rates.yaml` beside this file and in files of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from certflow.config.files import read_yaml
from certflow.config.validation import validated
from certflow.errors import ConfigError, listed
from certflow.kinds.spec import Record

RATES = Path(__file__).with_name("rates.yaml")
KINDS = ("draws", "training")


class Line(Record):
    """One measured rate: passes per second, and where that is stated."""

    rate: float = Field(gt=0)
    source: str = "unknown"


class Device(Record):
    """What is known of a device."""

    about: str = ""
    draws: dict[str, Line] = {}
    training: dict[str, Line] = {}


class Model(Record):
    """What is known of a model."""

    parameters: int = Field(ge=1)


class File(Record):
    """A file of rates."""

    models: dict[str, Model] = {}
    devices: dict[str, Device] = {}


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
    shipped, mine = _read(RATES), _read(own) if own else File()
    devices = {**mine.devices, **{name: one for name, one in shipped.devices.items() if name not in mine.devices}}
    name = device or next(iter(devices))
    if name not in devices:
        raise ConfigError([f"--device: no device {name!r}; known: {listed(devices)}"], str(own or RATES))
    tables: dict[str, dict[str, Line]] = {kind: getattr(devices[name], kind) for kind in KINDS}
    return Rates(
        device=name,
        about=devices[name].about,
        **{kind: {model: float(line.rate) for model, line in table.items()} for kind, table in tables.items()},
        parameters={model: one.parameters for model, one in {**shipped.models, **mine.models}.items()},
        sources={(kind, model): line.source for kind, table in tables.items() for model, line in table.items()},
    )


def _read(path: str | Path) -> File:
    """A checked file of rates; a `ConfigError` that names every wrong place in it."""
    content = read_yaml(path, "a mapping with `devices` and `models`")
    try:
        return validated(File, content)
    except ConfigError as error:
        raise ConfigError(error.problems, str(path)) from error
