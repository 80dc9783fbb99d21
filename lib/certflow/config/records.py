"""What the entries of a configuration are, section by section."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Self, get_origin

from pydantic import Field, field_validator, model_validator

from certflow.data.subset import Images
from certflow.kinds.effect import OnlyWith
from certflow.kinds.seeds import TrainingSeed
from certflow.kinds.spec import Record
from certflow.knowledge.settings import Knowledge
from certflow.noise.radii import Norm
from certflow.report.settings import PlotSettings
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA, smallest_n_to_certify
from certflow.training.predictions import Predictions

SECTIONS = {
    "datasets": "dataset",
    "corruptions": "corruption",
    "noises": "noise",
    "models": "model",
    "denoisers": "denoiser",
    "methods": "method",
    "samplers": "sampler",
    "certificates": "certificate",
    "attacks": "attack",
}
"""Section of the configuration → family of its entries."""


class PublishedCell(Record):
    """Which published numbers stand beside an experiment: dataset and architecture as in `report/data/published`."""

    dataset: str
    """The published dataset."""
    arch: str
    """The published architecture."""
    data: str | None = None
    """Name of our images if they are not the published ones (re-encoded copies, say); every comparison then says so."""
    model: str | None = None
    """Name of our network if it is not the published one; every comparison then says so."""


class Envelopes(Record):
    """Which published envelopes (best over noise levels) are stated below a table; names as in `report/data/envelopes`."""

    dataset: str
    """The published dataset."""
    arch: str
    """The published architecture."""


class ForeignResult(Record):
    """A row made elsewhere: tables in the field's format (`idx label predict radius correct time`, tab-separated)."""

    label: str = Field(min_length=1)
    """Shown in the table's method column."""
    noise: str
    """Name of the noise entry it was certified under."""
    tables: list[str] = Field(min_length=1)
    """Its files, one for each model trained in this way; several are averaged, like seeds of ours."""
    folder: str = ""
    """Folder of the files, relative to where the workflow runs; empty: that place itself."""
    norm: Norm = "l2"
    """The norm of its radii, which the format does not say."""
    beside: str | None = None
    """Method of the experiment that it is compared with, image by image: the difference and its standard error."""

    @field_validator("tables")
    @classmethod
    def _once(cls, tables: list[str]) -> list[str]:
        for table in tables:
            if tables.count(table) > 1:
                raise ValueError(f"{table!r} is listed twice")
        return tables

    @property
    def paths(self) -> list[str]:
        """The files, `folder` put before each."""
        return [os.path.join(self.folder, table) for table in self.tables]


class Preview(Record):
    """An estimate of the experiment's table from a few draws of each image, before the table is made; never a certificate."""

    sampler: str
    """Entry of `samplers` that makes these draws, usually of kind `pilot`."""
    n: int = Field(100_000, ge=1, le=LARGEST_N)
    """Draws per image of the table that is estimated."""
    alpha: Alpha = USUAL_ALPHA
    """Failure probability per image of the table that is estimated."""

    @model_validator(mode="after")
    def _something_can_be_proved(self) -> Self:
        least = smallest_n_to_certify(self.alpha)
        if self.n < least:
            raise ValueError(
                f"n: {self.n} draws can never certify at alpha={self.alpha:g}, so that there is nothing to estimate; at least "
                f"{least} are needed"
            )
        return self


def listing(record: type[Record], setting: str) -> bool:
    """Whether a setting holds a list: experiments may then name one of `lists` instead."""
    return setting in record.model_fields and get_origin(record.model_fields[setting].annotation) is list


class Experiment(Record):
    """One paper-style table: every method × noise × certificate (see `pairs`), over seeds, on the same images.

    Where a setting is a list, the name of one of `lists` may stand instead.
    """

    dataset: str
    """Entry of `datasets`."""
    model: str
    """Entry of `models`: the network that every method trains."""
    images: str
    """Entry of `images`: what is certified."""
    noises: list[str] = Field(min_length=1)
    """Entries of `noises`; each is trained under and certified under."""
    methods: list[str] = Field(min_length=1)
    """Entries of `methods`: the rows of the table."""
    certificates: list[str] = Field(min_length=1)
    """Entries of `certificates`; each names the sampler whose draws it certifies."""
    pairs: Literal["all", "possible"] = "all"
    """`all`: every certificate under every noise; a pair that does not fit is an error. `possible`: pairs that do not fit are
    left out, so that laws with different certificates can be in one table; each noise and certificate must fit another one."""
    seeds: list[TrainingSeed] = Field([0], min_length=1)
    """Seeds of training and sampling. With several the table gives mean and spread."""
    radii: list[float] = Field(min_length=1)
    """Radii of the table's columns in the norm of its certificates (l2 unless they say otherwise), [0,1]-pixel units."""
    foreign: list[ForeignResult] = []
    """Results made elsewhere that the table shows beside these."""
    corruptions: list[str] = []
    """Also certify corrupted copies of the images (entries of `corruptions`), with the same models, in a table of their own."""
    attacks: list[str] = []
    """Also attack the models on the same images (entries of `attacks`): an upper bound beside what is certified."""
    published: PublishedCell | None = None
    """Print the papers' numbers for the same cells beside ours."""
    envelopes: Envelopes | None = None
    """State below the table what papers print as the best over several noise levels."""
    envelope: bool = False
    """Also print, for each method and kind of noise, the best over the noise levels at each radius, as many papers do. The
    level is chosen on the images that are certified, so the number is optimistic, and is marked so."""
    preview: Preview | None = None
    """Also estimate the table before it is made: results/estimates/<experiment>.tex, which needs no certificate."""
    title: str = ""
    """The table's caption."""
    remark: str = ""
    """A sentence printed under the table: what a reader must know before comparing."""
    plot: PlotSettings = PlotSettings()
    """How the figures look."""


class Diagnosis(Record):
    """One page about the knowledge continuity of models: every method × noise, over seeds.

    Where a setting is a list, the name of one of `lists` may stand instead.
    """

    dataset: str
    """Entry of `datasets`."""
    model: str
    """Entry of `models`: the network that every method trains."""
    noises: list[str] = Field(min_length=1)
    """Entries of `noises` that the models are trained under; one of them may be without noise."""
    methods: list[str] = Field(min_length=1)
    """Entries of `methods`."""
    seeds: list[TrainingSeed] = Field([0], min_length=1)
    """Seeds of training. Each makes a model of its own."""
    knowledge: str
    """Entry of `knowledge`: what is measured of each model."""
    attacks: list[str] = []
    """Entries of `attacks`: the page shows the accuracy after them, over their strength."""
    images: Annotated[str | None, OnlyWith("attacks")] = None
    """Entry of `images`: what is attacked. Needed where there are attacks."""
    beside: str | None = None
    """An experiment of four models or more: the scores of all of them are compared with their certified accuracy."""
    title: str = ""
    """The page's heading."""
    remark: str = ""
    """A sentence printed first: what a reader must know."""
    plot: PlotSettings = PlotSettings()
    """How the figures look."""


RECORDS = {
    "images": Images,
    "predictions": Predictions,
    "knowledge": Knowledge,
    "experiments": Experiment,
    "diagnoses": Diagnosis,
}
"""Section of the configuration whose entries are all of one kind → what they are."""
PAGES = {"experiments": Experiment, "diagnoses": Diagnosis}
"""Sections whose entries are made into pages, and may be asked for under `targets`; no two of them have the same name."""


@dataclass(frozen=True)
class MethodEntry:
    """A method as written: its kind, the preset it starts from, and the user's own keys, which win."""

    kind: str
    preset: str | None
    preset_dataset: str | None
    own: Mapping[str, Any]


class ModelKey(NamedTuple):
    """Names that identify one model: the wildcards of its path, in their order."""

    dataset: str
    model: str
    method: str
    noise: str
    seed: int


@dataclass(frozen=True)
class OfModel:
    """What is made from one model: the wildcards that all such paths begin with."""

    dataset: str
    model: str
    method: str
    noise: str
    seed: int

    @property
    def of_model(self) -> ModelKey:
        """The names of the model alone."""
        return ModelKey(*(getattr(self, name) for name in ModelKey._fields))


@dataclass(frozen=True)
class KnowledgeRun(OfModel):
    """Names that identify the tables of one model's layers: the wildcards of their path."""

    knowledge: str


@dataclass(frozen=True)
class AttackRun(OfModel):
    """Names that identify one attack table: the wildcards of its path."""

    images: str
    attack: str


@dataclass(frozen=True)
class CountsRun(OfModel):
    """Names that identify counts: the wildcards of their path."""

    images: str
    sampler: str


@dataclass(frozen=True)
class Run(CountsRun):
    """Names that identify one certificate table: the wildcards of its path."""

    certificate: str
