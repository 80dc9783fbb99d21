"""Published per-image results of Cohen et al. (`locuslab/smoothing`): their radii are ours, at the level they really used."""

import numpy as np
import pandas as pd
import pytest

from certflow.certify import gaussian_radius, read_field_table
from certflow.certify.field_table import FIELD_COLUMNS, format_time

FILES = {
    "certify/cifar10/resnet110/noise_0.12/test/sigma_0.12": 0.001,
    "certify/cifar10/resnet110/noise_0.50/test/sigma_0.50": 0.01,
    "certify/imagenet/resnet50/noise_0.50/test/sigma_0.50": 0.01,
}
"""File → the alpha that its radii fit. The paper states 0.001 for all."""

RADII = (0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2)
SUMMARY = {
    "certify/cifar10/resnet110/noise_0.12/test/sigma_0.12": ((0.814, 0.586, 0, 0, 0, 0, 0, 0), 0.2701, 0.038, 14.1),
    "certify/cifar10/resnet110/noise_0.50/test/sigma_0.50": (
        (0.652, 0.546, 0.414, 0.320, 0.234, 0.152, 0.094, 0),
        0.5375,
        0.166,
        17.5,
    ),
    "certify/imagenet/resnet50/noise_0.50/test/sigma_0.50": (
        (0.572, 0.518, 0.458, 0.424, 0.372, 0.330, 0.286, 0),
        0.7325,
        0.164,
        151.5,
    ),
}


@pytest.fixture(scope="module")
def golden(shared) -> pd.DataFrame:
    return pd.read_csv(shared("reference/cohen_golden.csv"))


@pytest.fixture(params=FILES)
def published(request, golden, tmp_path) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """The file's name, its golden rows, and the same rows written in the field's format and read back."""
    rows = golden[golden.source == request.param].reset_index(drop=True)
    field = rows.assign(time=[format_time(value) for value in rows.seconds])[list(FIELD_COLUMNS)]
    field.to_csv(tmp_path / "published.tsv", sep="\t", index=False)
    return request.param, rows, read_field_table(tmp_path / "published.tsv")


def printed(radius: np.ndarray) -> np.ndarray:
    """As the published files print radii: three significant digits, rounded to nearest."""
    return np.array([float(f"{value:.3}") for value in radius])


def ladder(alpha: float, sigma: float, steps: int = 1000) -> np.ndarray:
    """The largest radii that n = 1e5 draws can give, as printed."""
    radius, _ = gaussian_radius(100_000 - np.arange(steps), 100_000, alpha, sigma)
    return printed(radius)


def share_on_ladder(rows: pd.DataFrame, alpha: float) -> float:
    """Share of the radii above 2.75 sigma that n = 1e5 draws at that level can give."""
    sigma = rows.sigma.iloc[0]
    high = rows.radius[rows.radius > 2.75 * sigma].to_numpy()
    assert len(high) >= 40
    return np.isin(high, ladder(alpha, sigma)).mean()


def test_every_large_radius_is_a_step_of_the_ladder(published):
    name, rows, _ = published
    alpha = FILES[name]
    assert (rows.alpha_inferred == alpha).all()
    assert share_on_ladder(rows, alpha) == 1.0


def test_two_files_used_alpha_one_percent_not_the_stated_one(golden):
    for name, alpha in FILES.items():
        if alpha == 0.01:
            rows = golden[golden.source == name]
            assert share_on_ladder(rows, 0.001) < 0.8
            assert rows.radius.max() > gaussian_radius(10**5, 10**5, 0.001, 0.5)[0] + 0.04
            assert rows.radius.max() == printed(gaussian_radius([10**5], 10**5, 0.01, 0.5)[0])[0]


def test_summary_of_the_files(published):
    name, _, table = published
    accuracies, acr, abstention, median_seconds = SUMMARY[name]
    assert len(table) == 500
    for radius, accuracy in zip(RADII, accuracies, strict=True):
        assert round((table.correct * (table.radius >= radius)).mean(), 3) == accuracy
    assert round((table.correct * table.radius).mean(), 4) == acr
    assert (table.predict == -1).mean() == pytest.approx(abstention, abs=1e-9)
    assert round(table.seconds.median(), 1) == median_seconds


def test_abstentions_are_the_rows_without_radius(published):
    _, _, table = published
    assert ((table.predict == -1) == (table.radius == 0)).all()
