"""Papers' hyperparameters, which are data: `<preset>.yaml` in this folder."""

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from certflow.errors import ConfigError, listed
from certflow.files.yamlfile import read_yaml
from certflow.kinds.spec import Record, problems_of
from certflow.noise.radii import Norm

FOLDER = Path(__file__).resolve().parent
TOLERANCE = 1e-9
"""Two noise levels closer than this are the same."""


class Row(Record):
    """What one method is trained with on some datasets under some noise, at some noise levels."""

    dataset: str | list[str]
    """Kinds of datasets."""
    method: str
    """Kind of the training method."""
    noise: str | list[str]
    """Kinds of the noise that the row trains under."""
    norm: Norm | list[Norm]
    """Norms of the radii that the source states for these models. It says beside which certificates published numbers may
    stand; training itself knows no norm."""
    sigma: float | list[float]
    """Noise levels that the row holds for, [0,1]-pixel units."""
    model: str
    """Network that the source used; for information."""
    recipe: str | None = None
    """Name of shared settings in the same file."""
    settings: dict[str, Any] = {}
    """Fields of the method; they win over the recipe."""
    per_sigma: dict[str, list[Any]] = {}
    """Fields with one value for each entry of `sigma`; they win over `settings`."""
    source: str = Field(min_length=1)
    """Where the values are stated."""
    published: bool
    """Whether the source states them, or they are taken over from a neighbouring row."""

    @property
    def datasets(self) -> list[str]:
        return [self.dataset] if isinstance(self.dataset, str) else self.dataset

    @property
    def noises(self) -> list[str]:
        return [self.noise] if isinstance(self.noise, str) else self.noise

    @property
    def norms(self) -> list[Norm]:
        return [self.norm] if isinstance(self.norm, str) else self.norm

    @property
    def sigmas(self) -> list[float]:
        return self.sigma if isinstance(self.sigma, list) else [self.sigma]

    @model_validator(mode="after")
    def _one_value_per_sigma(self) -> "Row":
        for name, values in self.per_sigma.items():
            if len(values) != len(self.sigmas):
                raise ValueError(f"per_sigma.{name}: {len(values)} values for {len(self.sigmas)} noise levels")
        return self

    def position(self, sigma: float) -> int | None:
        """Where `sigma` stands among the row's noise levels; None where it does not."""
        return next((i for i, known in enumerate(self.sigmas) if abs(known - sigma) < TOLERANCE), None)

    def describe(self) -> str:
        levels = ", ".join(f"{sigma:g}" for sigma in self.sigmas)
        return f"{'/'.join(self.datasets)} {self.method} under {'/'.join(self.noises)} sigma {levels}"


class Preset(Record):
    """One file of `presets/`."""

    about: str
    recipes: dict[str, dict[str, Any]] = {}
    rows: list[Row]

    @model_validator(mode="after")
    def _consistent(self) -> "Preset":
        seen = set()
        for row in self.rows:
            if row.recipe is not None and row.recipe not in self.recipes:
                raise ValueError(
                    f"{row.describe()}: no recipe {row.recipe!r}; known: {listed(self.recipes, row.recipe)}"
                )
            for cell in product(row.datasets, [row.method], row.noises, row.sigmas):
                if cell in seen:
                    raise ValueError("two rows for {} {} under {} sigma {:g}".format(*cell))
                seen.add(cell)
        return self

    def settings(self, row: Row, sigma: float) -> dict[str, Any]:
        """Method fields of a row at one of its noise levels."""
        position = row.position(sigma)
        if position is None:
            raise ValueError(f"{row.describe()}: has no noise level {sigma:g}")
        values = {name: choices[position] for name, choices in row.per_sigma.items()}
        return {**(self.recipes[row.recipe] if row.recipe else {}), **row.settings, **values}


def preset_names() -> list[str]:
    """The presets there are, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def require_preset(preset: Any) -> None:
    """`ConfigError` that lists the known presets unless this is the name of one."""
    if preset not in preset_names():
        raise ConfigError([f"preset: there is no preset {preset!r}; known: {listed(preset_names(), preset)}"])


def preset_settings(preset: str, dataset: str, method: str, noise: str, sigma: float) -> dict[str, Any]:
    """Method fields that a preset states for kinds of dataset, method and noise at a noise level ([0,1]-pixel units).

    A new dict at each call. Errors as in `preset_row`.
    """
    row = preset_row(preset, dataset, method, noise, sigma)
    return load_preset(preset).settings(row, sigma)


def preset_row(preset: str, dataset: str, method: str, noise: str, sigma: float) -> Row:
    """The row of a preset for kinds of dataset, method and noise at a noise level ([0,1]-pixel units).

    `ConfigError` that lists the known presets, or the preset's rows, where there is no such row.
    """
    require_preset(preset)
    content = load_preset(preset)
    for row in content.rows:
        if dataset in row.datasets and row.method == method and noise in row.noises and row.position(sigma) is not None:
            return row
    rows = [row for row in content.rows if row.method == method] or content.rows
    known = "; ".join(row.describe() for row in rows)
    raise ConfigError(
        [f"preset: {preset!r} has no row for {dataset} {method} under {noise} sigma {sigma:g}; known: {known}"]
    )


@cache
def load_preset(preset: str) -> Preset:
    """The checked content of `lib/certflow/presets/<preset>.yaml`; `ConfigError` naming the file where it is wrong."""
    path = FOLDER / f"{preset}.yaml"
    content = read_yaml(path, "a mapping with `about` and `rows`")
    try:
        return Preset.model_validate(content)
    except ValidationError as error:
        raise ConfigError(problems_of(error), source=str(path)) from error
