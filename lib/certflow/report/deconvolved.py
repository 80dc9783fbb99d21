"""The law of p_A over images, from the counts of a table: what its lower bounds would be if draws left nothing open."""

from typing import TYPE_CHECKING

import numpy as np

from certflow.report.lines import Line
from certflow.stats.deconvolution import GRID, law_of, observed

if TYPE_CHECKING:
    import pandas as pd


def estimated_share(line: Line) -> tuple[np.ndarray, np.ndarray] | None:
    """float64 [grid], [grid]: share of all images whose p_A is at most that of each point of `GRID`, and its standard error.

    The images stand for the population that they were taken from. Shares are means over seeds; so is the error, since seeds
    share their images. None where every outcome was counted, so that nothing is left open, and where tables state no counts.
    Where stage 1 decided how many draws an image gets (`SamplerSpec.allots`), its counts are counted, too: images that it left
    out are not like the others.
    """
    tables = [entry.table for entry in line.seeds]
    if line.alpha == 0 or not all({"k", "n"} <= set(table.columns) and table["n"].any() for table in tables):
        return None
    sampler = line.sampler
    both = sampler is not None and sampler.allots
    found = [_share(table, both) for table in tables]
    share, error = (np.mean(values, axis=0) for values in zip(*found, strict=True))
    return share, error


def _share(table: "pd.DataFrame", both_stages: bool) -> tuple[np.ndarray, np.ndarray]:
    k, n = table["k"], table["n"]
    if both_stages:
        k, n = k + table["k0"], n + table["n0"]
    upto = (GRID[:, None] <= GRID).astype(np.float64)  # [points of the law, points asked for]
    return law_of(observed(k, n)).mean(upto)
