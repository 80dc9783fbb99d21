"""What a page says about a job: sentences and charts from its moments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certflow.doors.web import charts, limits
from certflow.doors.web.asked import AskedCertify
from certflow.doors.web.card import Card
from certflow.doors.web.job import Job
from certflow.doors.web.law import Law, law_of
from certflow.doors.web.words import duration, percent, rounded
from certflow.report.names import NORMS
from certflow.report.numbers import DASH, down
from certflow.sampling.base import SamplerSpec

LONGER = 10
"""Continuing a job multiplies its draws by this."""
LARGEST = 10_000_000
"""Most draws that a job can be continued to."""


@dataclass(frozen=True)
class Shown:
    """A job of one image as a page shows it."""

    job: Job[AskedCertify]
    card: Card
    law: Law
    moment: dict[str, Any] | None
    until: int

    @property
    def certified(self) -> bool:
        """Whether there is a certificate now."""
        return self.moment is not None and certifies(self.moment)

    @property
    def preview(self) -> bool:
        """Whether the numbers are not certified yet."""
        return bool(self.moment and not self.moment["valid"])

    @property
    def name(self) -> str:
        """The class that stage 1 chose."""
        return self.card.named(self.moment["selected"]) if self.moment else ""

    @property
    def radius(self) -> str:
        """The radius, rounded down."""
        if self.moment is None:
            return DASH
        return down(self.moment["best"] if self.moment["valid"] else self.moment["radius"])

    @property
    def unit(self) -> str:
        """The norm, for people."""
        return NORMS[self.law.way.norm]

    @property
    def heading(self) -> str:
        """The state in words."""
        job, moment = self.job, self.moment
        if job.status.state == "failed":
            return "The job failed"
        if job.status.state == "queued":
            return "Waiting for its turn"
        if moment is None or not moment["drawn"]:
            before = "Stopped before there was a result" if job.ended else "Getting the model ready"
            return f"Class {self.name} leads after the first draws" if moment else before
        if self.preview:
            return f"Class {self.name}, not yet a certificate"
        if self.certified:
            return f"Certified as class {self.name}"
        return "Abstains: no class is certain enough"

    @property
    def said(self) -> str:
        """One sentence for those who do not see the page."""
        if self.moment is None or not self.moment["drawn"]:
            return self.heading
        drawn = f" after {self.moment['drawn']:,} of {self.until:,} draws" if self.law.grows else ""
        more = "; it rises with more draws" if self.certified and not self.job.ended and self.law.anytime else ""
        if self.certified:
            return f"Class {self.name}, certified {self.unit} radius at least {self.radius}{drawn}{more}."
        return f"{self.heading}{drawn}."

    @property
    def meaning(self) -> str:
        """What the number means."""
        if not self.certified:
            return ""
        domain = " whose pixels are whole grey levels" if self.law.sampler.arithmetic == "exact" else ""
        sure = (
            f"This statement is wrong with probability at most {self.law.risk:g}."
            if self.law.risk
            else "Nothing is left to chance: every outcome of the noise was counted."
        )
        ball = f"every image{domain} within {self.unit} distance {self.radius} of this one"
        return f"The smoothed classifier gives class {self.name} to {ball}. {sure}"

    @property
    def advice(self) -> str:
        """What to do if nothing is certified, or why the numbers are not a certificate yet."""
        moment = self.moment
        if moment is None or not moment["drawn"] or self.certified:
            return ""
        if self.preview:
            left = f"The bound is for {self.until:,} draws, fixed beforehand."
            return f"{left} Until they are all made, what is shown is what so few draws would have given: a preview."
        share = moment["p_hat"] or 0.0
        if not self.law.grows:
            return "More draws may help, if the class has more than half of them."
        needed = limits.needed(self.law, share)
        if share <= 0.5 or needed is None:
            return (
                f"Class {self.name}, which the first draws chose, has {share:.1%} of the draws. More draws will hardly help: "
                "under this noise the model does not give one class to most copies of this image."
            )
        return f"Class {self.name} has {share:.1%} of the draws. If that stays so, about {rounded(needed):,} draws will do."

    @property
    def bars(self) -> list[dict[str, Any]]:
        """Counts by class, the largest first, and all others."""
        moment = self.moment
        if moment is None or not moment["drawn"]:
            return []
        drawn = moment["drawn"]
        rows = [
            {
                "name": self.card.named(number),
                "count": count,
                "share": 100 * count / drawn,
                "percent": percent(count, drawn),
                "selected": number == moment["selected"],
            }
            for number, count in moment["top"]
        ]
        count = moment["rest"]
        share = {"share": 100 * count / drawn, "percent": percent(count, drawn)}
        rest = {"name": "all others", "count": count, **share, "selected": False}
        return [*rows, rest] if moment["rest"] else rows

    @property
    def interval(self) -> charts.Interval | None:
        """Of the selected class's probability."""
        if self.moment is None or not self.moment["drawn"]:
            return None
        return charts.interval(self.moment["p_lower"], self.moment["p_hat"], self.moment["p_upper"])

    @property
    def made_by(self) -> SamplerSpec:
        """The sampler that makes these counts again: the job may have been stopped early, or continued."""
        if self.law.anytime and self.moment and self.moment["drawn"]:
            return self.law.sampler.model_copy(update={"n": self.moment["drawn"]})
        return self.law.sampler

    @property
    def growth(self) -> charts.Growth | None:
        """Radius against draws."""
        if not self.law.grows:
            return None
        return charts.growth(self.job.moments, self.until, self._most)

    @property
    def largest(self) -> str:
        """The radius if all draws hit."""
        return down(self._most[-1][1]) if self._most else ""

    @property
    def _most(self) -> tuple[tuple[int, float], ...]:
        """(draws, largest radius possible) up to all draws; empty where counts do not grow."""
        return limits.most(self.law, min(max(self.until // 1000, 10), self.until), self.until) if self.law.grows else ()

    @property
    def rate(self) -> float:
        """Draws per second."""
        moment = self.moment
        return moment["drawn"] / moment["seconds"] if moment and moment["seconds"] else 0.0

    @property
    def left(self) -> str:
        """Time left."""
        moment = self.moment
        if moment is None or self.job.ended or not self.rate or not self.law.grows:
            return ""
        return duration((self.until - moment["drawn"]) / self.rate)

    @property
    def done(self) -> float:
        """Percent of the draws."""
        if self.law.grows:
            return 100 * self.moment["drawn"] / self.until if self.moment else 0.0
        status = self.job.status
        return 100 * status.done / status.total if status.total else 0.0

    @property
    def looks(self) -> list[dict[str, Any]]:
        """Rows of the table of moments, the newest first."""
        rows = [moment for moment in self.job.moments if moment["drawn"]]
        return [
            {
                "drawn": moment["drawn"],
                "share": f"{moment['p_hat']:.4f}" if moment["p_hat"] is not None else DASH,
                "lower": down(moment["p_lower"]),
                "radius": down(moment["radius"]),
                "best": down(moment["best"]),
            }
            for moment in reversed(rows)
        ]

    @property
    def further(self) -> int | None:
        """Draws that the job can be continued to; None if it cannot."""
        if self.job.resumable:
            return self.until
        wanted = min(self.until * LONGER, LARGEST)
        may = self.law.anytime and self.job.status.state == "done"
        return wanted if may and self.moment and self.moment["drawn"] < wanted else None


def outcome(job: Job) -> str:
    """What came out of a job, in a few words; empty where that is not known yet."""
    rows = job.found.get("rows") or []
    if rows:
        return f"{sum(row['success'] for row in rows)} of {len(rows)} found another class"
    moment = job.moments[-1] if job.moments else None
    if moment is None or not moment["valid"]:
        return ""
    return f"radius {down(moment['best'])}" if certifies(moment) else "abstains"


def certifies(moment: Mapping[str, Any]) -> bool:
    """Whether what is known at a moment is a certificate: of preset radii the only one that holds may be 0."""
    return moment["valid"] and (moment["best"] > 0 or moment["predict"] >= 0)


def shown(job: Job[AskedCertify], card: Card) -> Shown:
    """A job of one image."""
    draws, moments = job.asked.draws, job.moments
    until = job.status.until or draws.n
    return Shown(job, card, law_of(draws, card), moments[-1] if moments else None, until)
