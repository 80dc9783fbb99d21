"""Published numbers for the same cell of a table, and a plain statement of what differs between theirs and ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certflow.report.columns import CERTIFIED, Metric, certified_at
from certflow.report.lines import Line

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "acr": "acr",
    "clean_accuracy": "clean_accuracy",
    "abstention_rate": "abstention_rate",
    "certify_seconds_per_image": "seconds_per_image",
}
"""Published metric → ours, for metrics without a radius."""

CERTIFICATE = "neyman_pearson"
"""Kind of certificate that all published numbers rest on (Cohen et al. 2019)."""

OTHER_ALPHA = "@alpha="
"""What follows the method's name where a published result was found to use another alpha than 0.001."""


@dataclass(frozen=True)
class PublishedLine:
    """One published result. `values` maps our metrics to numbers; `n_images` may differ from ours, see `comparison`."""

    source: str
    method: str
    n_images: int
    values: Mapping[Metric, float]

    @property
    def alpha(self) -> str | None:
        """The failure probability that the numbers were found to be made with, where it is known to be unusual."""
        return self.method.partition(OTHER_ALPHA)[2] or None


@dataclass(frozen=True)
class PublishedCells:
    """Where published numbers come from: dataset and architecture as `lib/certflow/report/data/published` calls them.

    `data` and `model` name ours where they are not the same thing as the published ones (re-encoded images, another network);
    every comparison then says so. `n` is the number of stage-2 draws per image of the published tables.
    `lookup(dataset, arch, method, noise kind, norm, sigma)` gives rows with the columns source, method, n_images, metric,
    radius, value; default `certflow.report.published.published`.
    """

    dataset: str
    arch: str
    data: str | None = None
    model: str | None = None
    n: int = 100_000
    lookup: "Callable[[str, str, str, str, str, float], pd.DataFrame] | None" = None

    def of(self, line: Line) -> PublishedLine | None:
        """The published result that stands beside a line: of our own tables, of a paper's recipe, under the same kind of noise
        at the same level, in the same norm; else None."""
        if not line.published_as or line.external:
            return None
        return self.find(line.published_as, line.noise_kind, line.norm, line.sigma, line.n_images)

    def find(self, method: str, noise: str, norm: str, sigma: float, n_images: int) -> PublishedLine | None:
        """The published result of a training method that is closest to ours; None where there is none.

        noise: kind of the noise that is certified under; norm: of the radii. A result under another law, or in another norm,
        is another quantity: it is never found.

        Preferred, in this order: the usual alpha over another one, per-image files over printed tables, as many images as ours,
        many images over few.
        """
        import pandas as pd

        lookup = self.lookup or _presets()
        names = (method, f"{method}{OTHER_ALPHA}0.01")
        found = [lookup(self.dataset, self.arch, name, noise, norm, sigma) for name in names]
        rows = pd.concat(found, ignore_index=True)
        rows = rows[rows["method"].isin(names)].drop_duplicates()
        lines = [_line(*key, group) for key, group in rows.groupby(["source", "method", "n_images"], sort=False)]
        order = {name: place for place, name in enumerate(names)}
        lines.sort(key=lambda e: (order[e.method], "printed" in e.source, e.n_images != n_images, -e.n_images))
        return lines[0] if lines else None

    def comparison(self, found: PublishedLine, ours: Line) -> str:
        """What a reader must know before comparing our line with a published one; no full stop."""
        facts = []
        if found.n_images != ours.n_images:
            facts.append(f"published on {found.n_images} images, ours on {ours.images}")
        if self.data is not None and self.data != self.dataset:
            facts.append(f"the data differ: published on {self.dataset}, ours on {self.data}")
        if self.model is not None and self.model != self.arch:
            facts.append(f"the networks differ: published {self.arch}, ours {self.model}")
        if found.alpha is not None and float(found.alpha) != ours.alpha:
            facts.append(f"published with alpha = {found.alpha}, ours with {ours.alpha:g}")
        if ours.certificate_kind not in ("", CERTIFICATE):
            facts.append(f"published certificates are of kind {CERTIFICATE}, ours {ours.certificate_kind}")
        elif ours.bounds:
            facts.append(f"published with plain bounds of one class, ours with {ours.bounds}")
        if ours.draws is not None and set(ours.draws) != {self.n}:
            facts.append(f"published with N = {self.n:,} draws per image, ours with {_span(*ours.draws)}")
        return "; ".join(facts) or f"both on {ours.n_images} images"


def _line(source: str, method: str, n_images: int, rows: "pd.DataFrame") -> PublishedLine:
    values = {Metric(NAMES[row.metric]): float(row.value) for row in rows.itertuples() if row.metric in NAMES}
    curve = rows[rows["metric"] == CERTIFIED]
    values.update({certified_at(row.radius): float(row.value) for row in curve.itertuples()})
    return PublishedLine(str(source), str(method), int(n_images), values)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _presets() -> "Callable[[str, str, str, str, str, float], pd.DataFrame]":
    from certflow.report.published import published

    return published
