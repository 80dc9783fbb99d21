"""The published counts of Double Sampling Randomized Smoothing through certificates and report: the paper's table rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from certflow.certify import certificate_table
from certflow.certify.base import Drawn
from certflow.certify.kinds.dsrs import DoubleSampling
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.noise import GeneralizedGaussian
from certflow.report.columns import Column, certified_at
from certflow.report.lines import Line, SeedTable
from certflow.report.summary import summarise

TEXT = (
    "model",
    "dataset",
    "train_method",
    "p_dist",
    "q_dist",
    "q_rule",
    "q_param",
    "np_check",
    "dsrs_check",
    "method",
    "paper_table",
)
DIM = {"mnist": 784, "cifar10": 3072, "imagenet": 150528}
RADII = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5]
CELLS = [  # model, method, q_dist, q_param: lines of the published tables
    ("cohen-mnist-380-1.00", "NP", "none", ""),
    ("cohen-mnist-380-1.00", "DSRS", "scaled", "0.8"),
    ("cohen-mnist-380-1.00", "DSRS", "trunc", "x+"),
    ("smoothmix-cifar-1530-1.00", "NP", "none", ""),
    ("cohen-cifar-1530-0.50", "NP", "none", ""),
    ("cohen-cifar-1530-0.50", "DSRS", "trunc", "x+"),
    ("cohen-imagenet-75260-1.00", "NP", "none", ""),
    ("cohen-imagenet-75260-1.00", "DSRS", "scaled", "0.8"),
    ("cohen-imagenet-75260-1.00", "DSRS", "trunc", "x+"),
]


def read(path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, "str"), low_memory=False)


@pytest.fixture(scope="module")
def counts(shared) -> pd.DataFrame:
    return read(shared("reference/dsrs_golden.csv.gz"))


@pytest.fixture(scope="module")
def tables(shared) -> pd.DataFrame:
    return read(shared("reference/dsrs_tables.csv"))


def cell(rows: pd.DataFrame, model: str, method: str, q_dist: str, q_param: str, alpha: float) -> pd.DataFrame:
    """The published counts of one line of the paper's tables."""
    rows = rows[rows.model == model]
    if method == "NP":
        return rows[(rows.q_dist == "none") & (rows.N == 100_000) & np.isclose(rows.alpha, alpha)]
    if q_dist == "trunc":  # a `+` rule pools some of the images
        return rows[rows.q_rule == q_param]
    return rows[(rows.q_dist == q_dist) & np.isclose(rows.q_param.astype(float), float(q_param))]


def certified(rows: pd.DataFrame, method: str) -> Line:
    """The certificate table of these counts; class 0 is the label, class 1 all others."""
    first = rows.iloc[0]
    n = rows.n_p.to_numpy(np.int64)
    hits = rows.k_p.to_numpy(np.int64)
    plan = pd.DataFrame({"idx": rows.image_id, "label": 0, "selected": 0, "k0": 1, "n0": 1, "n": n}).reset_index(
        drop=True
    )
    noise = GeneralizedGaussian(k=int(first.k), sigma=float(first.sigma))
    extra = {}
    if method == "NP":
        spec = NeymanPearson(sampler="published", alpha=first.alpha / 2)  # the published bounds are two-sided
    else:
        spec = DoubleSampling(sampler="published", alpha=2 * first.alpha, target="label")
        pooled = (rows.q_dist == "pooled").to_numpy()
        n_q, k_q = rows.n_q.to_numpy(np.int64), rows.k_q.to_numpy(np.int64)
        n_q = np.where(pooled, n_q - n, n_q)  # published for pooled images: both halves together
        hits = np.where(pooled, k_q - np.minimum(k_q, n_q), hits)
        k_q = np.minimum(k_q, n_q)
        kind = np.where(pooled, "pooled", "scaled" if first.q_dist == "scaled" else "truncated")
        parameter = rows.q_param.astype(float).to_numpy()
        plan = plan.assign(n_q=n_q, q_kind=kind, q_param=parameter / (first.sigma if first.q_dist == "scaled" else 1.0))
        extra = {"counts_q": np.stack([k_q, n_q - k_q], axis=1)}
    table = certificate_table(
        Drawn(plan, np.stack([hits, n - hits], axis=1), noise, extra=extra, dim=DIM[first.dataset]),
        spec,
        np.zeros(len(n)),
    )
    return Line(first.model, "noise", noise.sigma, method, (SeedTable(0, table, Path("published"), norm="l2"),))


@pytest.mark.parametrize("model, method, q_dist, q_param", CELLS)
def test_rows_of_the_papers_tables(counts, tables, model, method, q_dist, q_param):
    wanted = tables[(tables.model == model) & (tables.method == method) & (tables.q_dist == q_dist)]
    wanted = wanted[(wanted.q_param == q_param) if q_param else (wanted.N == 100_000) & (wanted.alpha == 0.001)]
    wanted = wanted.set_index("radius")
    rows = cell(counts, model, method, q_dist, q_param, 0.001)
    assert len(rows) == wanted.n_images.iloc[0] == 1000
    row = summarise([certified(rows, method)], RADII, resamples=10).iloc[0]
    assert row.acr == pytest.approx(wanted.acr_ref.iloc[0], abs=6e-5)
    for radius in RADII:
        assert 100 * row[Column(certified_at(radius))] == pytest.approx(wanted.cert_acc_ref[radius], abs=1e-9)
