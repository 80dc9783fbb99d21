"""Published per-image results of Double Sampling Randomized Smoothing (`llylly/DSRS`), each radius computed again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from certflow.certify import dsrs_radius, gg_np_radius
from certflow.stats import clopper_pearson_lower, clopper_pearson_upper

TABLE = Path(__file__).parent / "data" / "dsrs.csv"
TEXT = ("model", "dataset", "train_method", "p_dist", "q_dist", "q_rule", "np_check", "dsrs_check")
DIM = {"mnist": 784, "cifar10": 3072, "tinyimagenet": 9408, "imagenet": 150528}
KIND = {"trunc": "truncated", "scaled": "scaled", "pooled": "pooled"}
ROWS = 1000
"""Rows per (d, k, q_dist) of the whole file that are tested."""
CLOSE = 2.1e-6
"""In units of sigma: radii are printed to 1e-6 (2e-6 sigma at sigma 0.25), intervals to 1e-10 (3e-8 sigma near p = 1)."""


def read(path) -> pd.DataFrame:
    rows = pd.read_csv(path, dtype={name: "str" for name in TEXT}, keep_default_na=True)
    return rows.assign(d=rows.dataset.map(DIM))


@pytest.fixture(scope="module")
def kept() -> pd.DataFrame:
    return read(TABLE)


@pytest.fixture(scope="module")
def sample(shared) -> pd.DataFrame:
    """Random rows of the whole file, with the intervals of both laws where there is a second one."""
    rows = read(shared("reference/dsrs_golden.csv.gz"))
    rows = rows[(rows.q_dist == "none") | rows.qa_low.notna()]
    groups = rows.groupby(["d", "k", "q_dist"])
    return pd.concat([group.sample(min(ROWS, len(group)), random_state=7) for _, group in groups])


def radii(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """radius_np and radius_dsrs (rows without Q: NP twice) of all rows, in their order."""
    np_radius, radius = np.empty(len(rows)), np.empty(len(rows))
    place = pd.Series(np.arange(len(rows)), index=rows.index)
    for (d, k, q), group in rows.groupby(["d", "k", "q_dist"]):
        at = place[group.index].to_numpy()
        np_radius[at] = gg_np_radius(group.pa_low, d, k, 1.0) * group.sigma
        if q == "none":
            radius[at] = np_radius[at]
            continue
        parameter = group.q_param / group.sigma if q == "scaled" else group.q_param
        found = dsrs_radius(group.pa_low, group.pa_high, group.qa_low, group.qa_high, d, k, 1.0, KIND[q], parameter)
        radius[at] = found["radius"] * group.sigma
        assert (found["dual"][found["radius"] > 0] >= 0.5).all()
        assert np.isin(found["status"], ["ok", "abstain", "pooled"]).all()
    return np_radius, radius


def published_steps(radius: np.ndarray, np_radius: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """What a search over multiples of `grid` from the NP radius on would have reported."""
    unit = rows.grid.to_numpy()
    step = np.floor((radius + 1e-6) / unit)
    return np.where(step > np.floor(np_radius / unit + 1e-9), step * unit, np_radius)


def check(rows: pd.DataFrame) -> None:
    np_radius, radius = radii(rows)
    sigma = rows.sigma.to_numpy()
    assert np.abs((np_radius - rows.radius_np_ref) / sigma).max() <= CLOSE
    second = (rows.q_dist != "none").to_numpy() & rows.radius_dsrs_ref.notna().to_numpy()
    error = ((radius - rows.radius_dsrs_ref) / sigma)[second]
    assert error.min() >= -1e-5
    assert error.max() <= CLOSE
    agreed = second & (rows.dsrs_check == "ok").to_numpy() & rows.radius_dsrs.notna().to_numpy()
    steps = published_steps(radius, rows.radius_np_ref.to_numpy(), rows)[agreed]
    np.testing.assert_allclose(steps, rows.radius_dsrs[agreed], atol=1.1e-4)


def test_radii_of_the_kept_rows(kept):
    assert len(kept) == 60
    check(kept)


def test_radii_of_a_sample_of_the_whole_file(sample):
    assert len(sample) > 3000
    check(sample)


def intervals(k, n, alpha) -> np.ndarray:
    half = np.asarray(alpha) / 2
    return np.stack([clopper_pearson_lower(k, n, half), clopper_pearson_upper(k, n, half)])


def check_intervals(rows: pd.DataFrame) -> None:
    p_alpha = np.where(rows.alpha > 0.004, 0.0005, rows.alpha)
    np.testing.assert_allclose(intervals(rows.k_p, rows.n_p, p_alpha), [rows.pa_low, rows.pa_high], atol=1e-9)
    two = rows[rows.k_q.notna()]
    doubled = (two.q_dist == "pooled") & (two.n_q > two.n_p)  # one published image was marked pooled and was not
    q_alpha = np.where(doubled, 2, 1) * two.alpha
    np.testing.assert_allclose(intervals(two.k_q, two.n_q, q_alpha), [two.qa_low, two.qa_high], atol=1e-9)


def test_intervals_are_two_sided_clopper_pearson(kept):
    check_intervals(kept)


def test_intervals_of_the_sample(sample):
    check_intervals(sample[sample.k_p.notna()])
