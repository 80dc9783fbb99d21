"""Published numbers for the same cell of a table, and a plain statement of what differs between theirs and ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.report.columns import CERTIFIED, Metric, certified_at
from certflow.report.lines import Line, describe_images
from certflow.report.numbers import counted
from certflow.report.published import image_range, published

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "acr": "acr",
    "clean_accuracy": "clean_accuracy",
    "abstention_rate": "abstention_rate",
    "certify_seconds_per_image": "seconds_per_image",
}
"""Published metric → ours, for metrics without a radius."""

OTHER_ALPHA = "@alpha=0.01"
"""What follows the method's name where a published result was found to use another alpha than its paper says."""

FACTS = {
    "source": str, "method": str, "images": str, "n_images": int, "certificate": str, "n": int, "alpha": float, "digits": int,
}  # fmt: skip
"""Columns of the published numbers that all rows of one result share, and what they hold."""


@dataclass(frozen=True)
class PublishedLine:
    """One published result and how it was made. Any of that may differ from ours, see `PublishedCells.comparison`."""

    source: str
    method: str
    images: str
    """Numbers of the test images, as `first:end:step`; empty where they are not known."""
    n_images: int
    certificate: str
    """Kind of the certificate."""
    n: int | None
    """Stage-2 draws per image; None: every outcome of the noise was counted."""
    alpha: float | None
    """Failure probability per image; None: not known."""
    digits: int | None
    """Significant digits that radii were rounded to before they were counted; None: they were not rounded."""
    values: Mapping[Metric, float]
    """Our metrics → numbers."""

    def of_images(self, numbers: Sequence[int] | np.ndarray) -> bool:
        """Is it about just these images of the test split?"""
        return bool(self.images) and np.array_equal(np.sort(numbers), image_range(self.images))


@dataclass(frozen=True)
class PublishedCells:
    """Where published numbers come from: dataset and architecture as `lib/certflow/report/data/published` calls them.

    `data` and `model` name ours where they are not the same thing as the published ones (re-encoded images, another network);
    every comparison then says so. `lookup(dataset, arch, method, noise kind, norm, sigma)` gives rows with the columns `FACTS`,
    metric, radius, value; default `certflow.report.published.published`.
    """

    dataset: str
    arch: str
    data: str | None = None
    model: str | None = None
    lookup: "Callable[[str, str, str, str, str, float], pd.DataFrame] | None" = None

    def of(self, line: Line) -> PublishedLine | None:
        """The published result that stands beside a line: of our own tables, of a paper's recipe, under the same kind of noise
        at the same level, in the same norm; else None."""
        if not line.published_as or line.external:
            return None
        return self.find(line.published_as, line.noise_kind, line.norm, line.sigma, self._numbers(line))

    def _numbers(self, line: Line) -> np.ndarray:
        """The numbers that our images have in the published data; none where that is another split, or another copy."""
        same_data = line.split == "test" and self.data in (None, self.dataset)
        return line.seeds[0].table["idx"].to_numpy(np.int64) if same_data else np.empty(0, np.int64)

    def same_images(self, found: PublishedLine, line: Line) -> bool:
        """Is a published result about just the images that our line is about?"""
        return found.of_images(self._numbers(line))

    def find(
        self, method: str, noise: str, norm: str, sigma: float, numbers: Sequence[int] | np.ndarray
    ) -> PublishedLine | None:
        """The published result of a training method that is closest to ours; None where there is none.

        noise: kind of the noise that is certified under; norm: of the radii. A result under another law, or in another norm,
        is another quantity: it is never found. numbers: of our images in the published test split.

        Preferred, in this order: a small alpha over a larger or unknown one, the same images as ours, per-image files over
        printed tables, many images over few.
        """
        import pandas as pd

        lookup = self.lookup or published
        names = (method, f"{method}{OTHER_ALPHA}")
        found = [lookup(self.dataset, self.arch, name, noise, norm, sigma) for name in names]
        rows = pd.concat(found, ignore_index=True)
        rows = rows[rows["method"].isin(names)].drop_duplicates()
        lines = results(rows)
        lines.sort(key=lambda e: (_risk(e), not e.of_images(numbers), "printed" in e.source, -e.n_images))
        return lines[0] if lines else None

    def comparison(self, found: PublishedLine, ours: Line) -> str:
        """What a reader must know before comparing our line with a published one; no full stop."""
        same = f"on the same images, {ours.images}"
        other = f"not on the same images: published on {_described(found)}, ours on {ours.images}"
        return "; ".join([same if self.same_images(found, ours) else other, *self.differences(found, ours)])

    def differences(self, found: PublishedLine, ours: Line) -> list[str]:
        """What differs from a published result besides the images: data, network, and what was certified from which draws."""
        facts = []
        if self.data is not None and self.data != self.dataset:
            facts.append(f"the data differ: published on {self.dataset}, ours on {self.data}")
        if self.model is not None and self.model != self.arch:
            facts.append(f"the networks differ: published {self.arch}, ours {self.model}")
        return [*facts, *_claims(found, ours)]


def results(rows: "pd.DataFrame") -> list[PublishedLine]:
    """The results that published rows are of."""
    groups: Any = rows.groupby(list(FACTS), sort=False, dropna=False)
    return [_line(key, group) for key, group in groups]


def _described(found: PublishedLine) -> str:
    if not found.images:
        return f"{counted(found.n_images, 'image')} (which is not stated)"
    return describe_images(image_range(found.images), "test")


def _claims(found: PublishedLine, ours: Line) -> list[str]:
    """Differences in what was certified, and from how many draws."""
    facts = []
    if found.alpha is not None and found.alpha != ours.alpha:
        facts.append(f"published with alpha = {found.alpha:g}, ours with {ours.alpha:g}")
    if ours.certificate_kind not in ("", found.certificate):
        facts.append(f"published certificates are of kind {found.certificate}, ours {ours.certificate_kind}")
    elif ours.bounds:
        facts.append(f"published with plain bounds of one class, ours with {ours.bounds}")
    if ours.draws is not None:
        theirs, own = _drawn(found.n, found.n), _drawn(*((None, None) if ours.alpha == 0 else ours.draws))
        if theirs != own:
            facts.append(f"published with {theirs}, ours with {own}")
    return facts


def _risk(found: PublishedLine) -> float:
    return inf if found.alpha is None else found.alpha


def _drawn(low: int | None, high: int | None) -> str:
    """How many draws an image had; None: no draws, but every outcome of the noise."""
    if low is None:
        return "every outcome counted"
    return f"N = {low:,}{'' if low == high else f' to {high:,}'} draws per image"


def _line(facts: Sequence[Any], rows: "pd.DataFrame") -> PublishedLine:
    """One result from its `FACTS`, NaN where its file has nothing, and its rows."""
    named = zip(rows["metric"], rows["value"], strict=True)
    values = {Metric(NAMES[name]): float(value) for name, value in named if name in NAMES}
    curve = rows[rows["metric"] == CERTIFIED]
    values |= {
        certified_at(radius): float(value) for radius, value in zip(curve["radius"], curve["value"], strict=True)
    }
    stated: dict[str, Any] = {
        name: None if fact != fact else type_(fact)  # NaN alone differs from itself
        for (name, type_), fact in zip(FACTS.items(), facts, strict=True)
    }
    return PublishedLine(**stated, values=values)
