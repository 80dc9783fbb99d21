"""What ways to a table of certified accuracy take on published models, from the quickest to the papers'."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """One way."""

    draws: float
    """Draws per image, of both stages."""
    source: str


WAYS = {
    "estimate": Way(157, "benchmarks/estimate.py, 91 to 157 on eighteen published tables; estimated, not certified"),
    "decide": Way(
        4100,
        "benchmarks/decide.py, label judged, 3,500 to 4,100 at radii up to 3 sigma on three published tables; more beyond",
    ),
    "paper": Way(100_100, "Cohen et al. 2019: 100 and 100,000"),
}
