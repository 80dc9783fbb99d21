"""What a report compares: one line is a method at a noise level under a certificate, with one per-image table per seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.certify.field_table import FIELD_COLUMNS, read_field_table
from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive
from certflow.models.header import CARRIED
from certflow.report.attacked import Attacked
from certflow.report.metrics import stage_2_draws
from certflow.report.names import NORMS, full_name

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SeedTable:
    """One per-image table. `provenance` is None for a table made elsewhere, which has the field's six columns only."""

    seed: int
    table: "pd.DataFrame"
    path: Path
    provenance: Provenance | None = None
    norm: str = ""
    """The norm of the radii, as the entry of a table made elsewhere says; ours claim it themselves."""

    @property
    def record(self) -> Provenance:
        """`provenance` of one of our tables; `ArtefactError` for one made elsewhere."""
        if self.provenance is None:
            raise ArtefactError(
                f"{self.path}: was made elsewhere and does not say from what; make it with the pipeline"
            )
        return self.provenance


@dataclass(frozen=True)
class Line:
    """A row of the paper's table and a curve of its figure.

    `method`, `noise` and `certificate` are names of configuration entries, as printed. `sigma` is the noise level in pixel
    units of [0,1]. `seeds` holds one table per training seed, all of the same images in the same order. `split` is the part of
    the dataset that the images come from. `published_as` is the name under which published numbers of the same training
    recipe are looked up, such as `smoothmix`; empty if nothing comparable was published. `beside`, of a line made elsewhere, is
    our method that it is compared with image by image; empty for none.
    """

    method: str
    noise: str
    sigma: float
    certificate: str
    seeds: tuple[SeedTable, ...]
    published_as: str = ""
    split: str = "test"
    beside: str = ""
    attacks: tuple[Attacked, ...] = ()
    """What attacks left of the same models on the same images."""

    def __post_init__(self):
        if not self.seeds:
            raise ValueError(f"{self.label}: a line needs at least one certificate table")
        for entry in self.seeds:
            _check_table(entry)
            _check_same_images(self.seeds[0], entry)
            _check_sigma(self.sigma, entry)
        _ = self.alpha

    @property
    def label(self) -> str:
        """All names that tell this line from others."""
        return full_name(self)

    @property
    def external(self) -> bool:
        """Were these tables made outside this pipeline?"""
        return any(entry.provenance is None for entry in self.seeds)

    @property
    def n_images(self) -> int:
        return len(self.seeds[0].table)

    @cached_property
    def alpha(self) -> float:
        """Failure probability per image, as the certificates claim it: 0 where every outcome of the noise was counted; NaN
        where the tables do not say it."""
        found = {_alpha(entry) for entry in self.seeds}
        if len(found) > 1:
            raise ArtefactError(
                f"{self.label}: the seeds' tables were made with different alpha {sorted(map(str, found))}"
            )
        alpha = found.pop()
        return np.nan if alpha is None else alpha

    @property
    def certificate_kind(self) -> str:
        """The registered kind of the certificate; empty where the tables do not say it."""
        return str(_stated(self.seeds[0], "certificate").get("kind", ""))

    @cached_property
    def sampler(self) -> Any:
        """What drew the counts (a `SamplerSpec`); None where the tables do not say it."""
        record = self.seeds[0].provenance
        return None if record is None or "sampler" not in record.spec else revive("sampler", record.spec["sampler"])

    @property
    def judges_label(self) -> bool:
        """Whether each image's label was judged, and not a class that stage 1 selected."""
        sampler, record = self.sampler, self.seeds[0].provenance
        if record is None or sampler is None:
            return False
        return sampler.judges_label or revive("certificate", record.spec["certificate"]).judges_label

    @property
    def noise_kind(self) -> str:
        """The registered kind of the noise; empty where the tables do not say it."""
        return str(_stated(self.seeds[0], "noise").get("kind", ""))

    @property
    def bounds(self) -> str:
        """Settings by which the bounds differ from the papers' plain one-sided ones, such as `bound: randomized`."""
        certificate = _stated(self.seeds[0], "certificate")
        usual = {"bound": "plain", "bound_form": "one"}
        return ", ".join(
            f"{key}: {certificate[key]}" for key, value in usual.items() if certificate.get(key, value) != value
        )

    @cached_property
    def norm(self) -> str:
        """The norm of the radii: what the certificates claim, for tables made elsewhere what their entry says."""
        found = {_norm(entry) for entry in self.seeds}
        if len(found) > 1 or not found <= set(NORMS):
            raise ArtefactError(
                f"{self.label}: radii in the norms {sorted(found)}; one of {', '.join(NORMS)} is needed"
            )
        return found.pop()

    @cached_property
    def draws(self) -> tuple[int, int] | None:
        """Fewest and most stage-2 draws of an image; None where a table does not say it."""
        if not all({"n0", "n"} <= set(entry.table.columns) for entry in self.seeds):
            return None
        n = np.concatenate([stage_2_draws(entry.table) for entry in self.seeds])
        return int(n.min()), int(n.max())

    @property
    def arithmetic(self) -> str:
        """`exact` or `float`, as the noise was drawn (`float` where seeds differ); empty where a table does not say it."""
        if self.external:
            return ""
        return "exact" if all(_claim(entry)["domain"] == "8-bit grid" for entry in self.seeds) else "float"

    @property
    def noise_says(self) -> str:
        """How the copies were drawn, in the noise's own words; empty where a table does not say it."""
        if not self.arithmetic:
            return ""
        return revive("noise", self.seeds[0].record.spec["noise"]).says(self.arithmetic == "exact")

    @property
    def warnings(self) -> list[str]:
        """What was found wrong with the line's models when they were imported or trained."""
        records = [entry.provenance for entry in self.seeds if entry.provenance is not None]
        return list(dict.fromkeys(text for record in records for text in record.notes.get(CARRIED, [])))

    @cached_property
    def images(self) -> str:
        """Which images these are, such as `test 0:10000:20 (500 images)`."""
        return describe_images(self.seeds[0].table["idx"].to_numpy(), self.split)


def read_line(
    method: str,
    noise: str,
    sigma: float,
    certificate: str,
    paths: Mapping[int, Path],
    *,
    published_as: str = "",
    split: str = "test",
) -> Line:
    """One of our lines. paths: training seed → certificate table, checked against its provenance as it is read."""
    entries = []
    for seed, path in paths.items():
        table, provenance = read_table(path)
        entries.append(SeedTable(seed, table, Path(path), provenance))
    return Line(method, noise, sigma, certificate, tuple(entries), published_as=published_as, split=split)


def read_external_line(
    method: str,
    noise: str,
    sigma: float,
    paths: Sequence[Path | str],
    *,
    norm: str,
    split: str = "test",
    beside: str = "",
) -> Line:
    """A line made elsewhere, from tables in the field's format (`idx label predict radius correct time`), radii in `norm`."""
    entries = tuple(SeedTable(seed, read_field_table(path), Path(path), norm=norm) for seed, path in enumerate(paths))
    return Line(method, noise, sigma, "", entries, split=split, beside=beside)


def describe_images(idx: Sequence[int] | np.ndarray, split: str) -> str:
    """`test 0:10000:20 (500 images)`: split, first:end:step as in a Python slice, and how many."""
    idx = np.sort(np.asarray(idx, np.int64))
    count = "1 image" if len(idx) == 1 else f"{len(idx)} images"
    steps = np.unique(np.diff(idx))
    if len(idx) == 1:
        return f"{split} {idx[0]} ({count})"
    if len(steps) > 1:
        return f"{split} {len(idx)} of {idx[0]}:{idx[-1] + 1}, not evenly spaced ({count})"
    step = int(steps[0])
    span = f"{idx[0]}:{idx[-1] + step}" + (f":{step}" if step > 1 else "")
    return f"{split} {span} ({count})"


def stacked(line: Line, values: Callable[["pd.DataFrame"], np.ndarray]) -> np.ndarray:
    """float64 [seeds, images, ...]: `values` of each seed's table."""
    return np.stack([np.asarray(values(entry.table), np.float64) for entry in line.seeds])


def _norm(entry: SeedTable) -> str:
    return entry.norm if entry.provenance is None else _claim(entry)["norm"]


def _claim(entry: SeedTable) -> Mapping[str, Any]:
    """What the radii of one of our tables say; `ArtefactError` where it does not state that."""
    claim = entry.record.notes.get("claim")
    if not isinstance(claim, Mapping) or not {"norm", "alpha", "domain"} <= set(claim):
        raise ArtefactError(f"{entry.path}: does not state what its radii claim; delete it and run again")
    return claim


def _stated(entry: SeedTable, part: str) -> Mapping[str, Any]:
    """A part of the specification that a table was made from; empty where it does not state it."""
    found = {} if entry.provenance is None else entry.provenance.spec.get(part, {})
    return found if isinstance(found, Mapping) else {}


def _alpha(entry: SeedTable) -> float | None:
    return None if entry.provenance is None else float(_claim(entry)["alpha"])


def _check_table(entry: SeedTable) -> None:
    table, where = entry.table, entry.path
    missing = [name for name in FIELD_COLUMNS if name not in table.columns]
    if missing or len(table) == 0:
        what = f"lacks the columns {', '.join(missing)}" if missing else "has no rows"
        raise DataError(f"{where}: {what}; a certificate table holds {' '.join(FIELD_COLUMNS)} and one row per image")
    predict, radius = table["predict"].to_numpy(), table["radius"].to_numpy(np.float64)
    faults = {
        "idx occurs twice": table["idx"].duplicated().to_numpy(),
        "radius is negative or not finite": ~(np.isfinite(radius) & (radius >= 0)),
        "correct is not (predict == label)": table["correct"].to_numpy() != (predict == table["label"].to_numpy()),
        "an abstention has a radius": (predict == -1) & (radius != 0),
    }
    for fault, bad in faults.items():
        if bad.any():
            idx = table["idx"].to_numpy()[int(np.argmax(bad))]
            raise DataError(f"{where}: image idx {idx}: {fault}; make the table again")


def _check_same_images(first: SeedTable, other: SeedTable) -> None:
    for name in ("idx", "label"):
        if not np.array_equal(first.table[name].to_numpy(), other.table[name].to_numpy()):
            raise DataError(
                f"{other.path}: its column {name} differs from that of {first.path}; the seeds of one line must be "
                "certified on the same images in the same order"
            )


def _check_sigma(sigma: float, entry: SeedTable) -> None:
    found = _stated(entry, "noise").get("sigma", sigma)
    if found != sigma:
        raise ArtefactError(
            f"{entry.path}: was certified under sigma={found}, the report asks for {sigma}; delete it and run again"
        )
