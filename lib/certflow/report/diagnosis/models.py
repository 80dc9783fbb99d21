"""The models of a diagnosis with the tables of their layers, read and compared with what they must have been made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.knowledge.settings import INPUT, LOGITS

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("method", "noise", "seed")
"""What tells the models of a diagnosis apart."""


@dataclass(frozen=True)
class Diagnosed:
    """One model: its names in the configuration, and the tables of its layers."""

    method: str
    noise: str
    seed: int
    label: str
    """The names in which it differs from the others."""
    path: Path
    volatility: "pd.DataFrame"
    record: Provenance
    """Of the table of volatility."""
    certificate: "pd.DataFrame | None" = None

    @property
    def key(self) -> tuple[str, str, int]:
        """Method, noise and seed."""
        return self.method, self.noise, self.seed

    @property
    def weights(self) -> str:
        """Digest of the model."""
        return self.record.parents["model"]

    @property
    def layers(self) -> list[str]:
        """All layers, in forward order."""
        return list(dict.fromkeys(self.volatility["layer"]))

    @property
    def hidden(self) -> list[str]:
        """The layers between input and logits; the logits where there are none."""
        return [layer for layer in self.layers if layer not in (INPUT, LOGITS)] or [LOGITS]

    @property
    def losses(self) -> list[str]:
        """The losses that were measured, in their order."""
        return list(dict.fromkeys(self.volatility["loss"]))

    @property
    def accuracy(self) -> float:
        """Share of the points that the network gets right."""
        return float(self.volatility["accuracy"].iloc[0])

    def of(self, loss: str) -> "pd.DataFrame":
        """The rows of one loss, a layer each, in forward order."""
        return self.volatility[self.volatility["loss"] == loss]

    @property
    def certified(self) -> "pd.DataFrame":
        """`certificate`; ValueError where none was read."""
        if self.certificate is None:
            raise ValueError(f"{self.label}: its certificate was not read")
        return self.certificate

    def bounds(self, layer: str) -> "pd.DataFrame":
        """The bounds of a layer for the first η, a distance each."""
        rows = self.certified[self.certified["layer"] == layer]
        return rows[rows["eta"] == rows["eta"].min()]


def read_models(
    runs: Sequence[Mapping[str, Any]], volatility: Sequence[str], certificate: Sequence[str] | None = None
) -> list[Diagnosed]:
    """The models of `runs` (those of `Study.diagnosis_spec`), in the order of their tables.

    `ArtefactError` for a table that was made from anything else than its run's `spec`.
    """
    labels, found = model_labels(runs), []
    for place, (run, label, path) in enumerate(zip(runs, labels, volatility, strict=True)):
        table, record = read_table(path, format="volatility", spec=run["spec"])
        curve = None
        if certificate is not None:
            curve, _ = read_table(
                certificate[place], format="knowledge certificate", spec=run["spec"], parents=record.parents
            )
        names = {name: run[name] for name in NAMES}
        found.append(
            Diagnosed(**names, label=label, path=Path(path), volatility=table, record=record, certificate=curve)
        )
    return found


def model_labels(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each model its method, and noise and seed where the models have several."""
    several = {name: len({run[name] for run in runs}) > 1 for name in NAMES}
    words = {"method": "{}", "noise": "{}", "seed": "seed {}"}
    return [
        ", ".join(words[name].format(run[name]) for name in NAMES if name == "method" or several[name]) for run in runs
    ]


def common_layers(models: Sequence[Diagnosed]) -> list[str] | None:
    """The layers of all models, where all have the same ones."""
    return models[0].layers if all(model.layers == models[0].layers for model in models) else None
