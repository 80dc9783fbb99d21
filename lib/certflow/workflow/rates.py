"""How fast devices are: measured numbers with a source, in `rates.yaml` beside this file and in files of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from certflow.config.validation import validated
from certflow.errors import ConfigError, listed
from certflow.files.yamlfile import read_yaml
from certflow.kinds.spec import Record

RATES = Path(__file__).with_name("rates.yaml")


class Line(Record):
    """One measured rate, and where it is stated."""

    rate: float = Field(gt=0)
    """Passes per second."""
    native: float | None = Field(None, gt=0)
    """With `native: true` of the model or the method; null: it makes no difference."""
    source: str = "unknown"

    def per_second(self, *, native: bool) -> float:
        return self.native if native and self.native is not None else self.rate


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
    """Rates of one device. `draws` and `training`: model → its rate; `parameters`: model → number of weights."""

    device: str
    about: str
    draws: Mapping[str, Line]
    training: Mapping[str, Line]
    parameters: Mapping[str, int]


def read_rates(device: str | None = None, own: str | Path | None = None) -> Rates:
    """The rates of `device` (default: the first of the user's file `own`, else the first that is shipped)."""
    shipped, mine = _read(RATES), _read(own) if own else File()
    devices = {**mine.devices, **{name: one for name, one in shipped.devices.items() if name not in mine.devices}}
    name = device or next(iter(devices))
    if name not in devices:
        raise ConfigError([f"--device: no device {name!r}; known: {listed(devices)}"], str(own or RATES))
    return Rates(
        device=name,
        about=devices[name].about,
        draws=devices[name].draws,
        training=devices[name].training,
        parameters={model: one.parameters for model, one in {**shipped.models, **mine.models}.items()},
    )


def _read(path: str | Path) -> File:
    """A checked file of rates; a `ConfigError` that names every wrong place in it."""
    content = read_yaml(path, "a mapping with `devices` and `models`")
    try:
        return validated(File, content)
    except ConfigError as error:
        raise ConfigError(error.problems, str(path)) from error
