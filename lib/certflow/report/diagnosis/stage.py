"""A diagnosis as a stage of the pipeline: from the tables of its models to its figures and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError
from certflow.files.intact import file_digest
from certflow.files.provenance import Provenance
from certflow.report.attacked import Attacked, read_attacked
from certflow.report.diagnosis import figures as drawing
from certflow.report.diagnosis.models import Diagnosed, read_models
from certflow.report.diagnosis.page import write_diagnosis_page
from certflow.report.diagnosis.scores import Beside, beside
from certflow.report.drawn import FORMAT, drawn_from
from certflow.report.gather import own_lines
from certflow.report.settings import PlotSettings
from certflow.report.style import save

ENDINGS = (".svg", ".pdf", ".png")


@dataclass(frozen=True)
class Tables:
    """Paths of what a diagnosis is made from, in the orders of `Study.diagnosis_spec`."""

    volatility: Sequence[str]
    certificate: Sequence[str]
    attacks: Sequence[str] = ()
    compared: Sequence[str] = ()
    """Volatility of the models of the experiment that the diagnosis is put beside."""
    certificates: Sequence[str] = ()
    """Certificate tables of that experiment."""

    def all(self) -> list[str]:
        """Every one of them."""
        return [*self.volatility, *self.certificate, *self.attacks, *self.compared, *self.certificates]


@dataclass(frozen=True)
class Found:
    """What the tables of a diagnosis say."""

    models: list[Diagnosed]
    attacks: dict[tuple[str, str, int], tuple[Attacked, ...]] = field(default_factory=dict)
    """Of each model's method, noise and seed."""
    beside: Beside | None = None


def write_diagnosis(spec: Mapping[str, Any], tables: Tables, *, page: str | Path, figures: str | Path) -> None:
    """Write the page of a diagnosis, and its figures (pdf, svg, png) into a folder. spec: `Study.diagnosis_spec`.

    `ArtefactError` where a table was made from anything else than the specification says.
    """
    found, settings = read_diagnosis(spec, tables), PlotSettings.model_validate(spec["plot"])
    drawn = {
        "volatility": drawing.draw_volatility(found.models, settings),
        "certificate": drawing.draw_certificate(found.models, settings),
    }
    if found.attacks:
        drawn["attacks"] = drawing.draw_attacks(found.models, found.attacks, settings)
    if found.beside is not None:
        drawn["scores"] = drawing.draw_scores(found.beside, settings)
    digests = {path: file_digest(path) for path in tables.all()}
    for name, figure in drawn.items():
        record = Provenance(format=FORMAT, spec=drawn_from(name, spec), parents=digests)
        save(figure, [Path(figures) / f"{name}{ending}" for ending in ENDINGS], record)
    pictures = {name: (Path(figures) / f"{name}{ENDINGS[0]}").read_bytes() for name in drawn}
    write_diagnosis_page(page, spec, found, pictures, digests)


def read_diagnosis(spec: Mapping[str, Any], tables: Tables) -> Found:
    """Everything that a diagnosis shows, each table compared with its specification."""
    models = read_models(spec["models"], tables.volatility, tables.certificate)
    return Found(models, _attacks(spec, models, tables.attacks), _beside(spec["beside"], tables))


def _attacks(
    spec: Mapping[str, Any], models: Sequence[Diagnosed], paths: Sequence[str]
) -> dict[tuple[str, str, int], tuple[Attacked, ...]]:
    """What attacks left of each model; they must have been made on the weights that were measured."""
    weights, found = {model.key: model.weights for model in models}, {}
    for run, path in zip(spec["attacks"], paths, strict=True):
        (attacked,) = read_attacked([run], [path])[run["method"], run["noise"]]
        key = run["method"], run["noise"], run["seed"]
        if attacked.models[0] not in ("", weights[key]):
            raise ArtefactError(f"{path}: attacks other weights than were measured; delete it and run again")
        found[key] = (*found.get(key, ()), attacked)
    return found


def _beside(spec: Mapping[str, Any] | None, tables: Tables) -> Beside | None:
    """The scores of an experiment's models beside its certified accuracies."""
    if spec is None:
        return None
    models, table = read_models(spec["models"], tables.compared), spec["table"]
    return beside(spec["experiment"], models, own_lines(table, table["runs"], tables.certificates), table["radii"])
