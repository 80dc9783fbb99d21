"""Radii and scales of the noise families against tables by other code, and published l1 certificates of uniform noise."""

import re

import numpy as np
import pandas as pd
import pytest

from certflow.certify.base import Drawn
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.certify.radii import radius
from certflow.noise import (
    Exp1,
    Exp2,
    ExpInf,
    ExponentialPower,
    GeneralizedGaussian,
    Laplace,
    Pareto,
    Pow2,
    PowInf,
    Uniform,
    UniformBall,
)

P_LOWER = np.array([0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999])
ROWS = {  # name of the row → (law at sigma 1, norm, unit of the printed values)
    "Uniform ℓ1": (Uniform(sigma=1), "l1", 1),
    "Uniform ℓ∞ (e-4)": (Uniform(sigma=1), "linf", 1e-4),
    "Laplace ℓ1": (Laplace(sigma=1), "l1", 1),
    "Laplace ℓ∞ (e-2)": (Laplace(sigma=1), "linf", 1e-2),
    **{f"Pareto a={a} ℓ1": (Pareto(sigma=1, a=a), "l1", 1) for a in (3, 6, 100)},
    "UniformBall ℓ2": (UniformBall(sigma=1), "l2", 1),
    **{f"ExpInf({k},{j}) ℓ1": (ExpInf(sigma=1, k=k, j=j), "l1", 1) for k, j in ((10, 0), (10, 100), (1, 3070))},
    **{f"ExpInf({k},0) ℓ∞ (e-4)": (ExpInf(sigma=1, k=k), "linf", 1e-4) for k in (1, 10)},
    "PowInf a=3082 ℓ1": (PowInf(sigma=1, a=3082), "l1", 1),
    "PowInf a=3082 ℓ∞ (e-4)": (PowInf(sigma=1, a=3082), "linf", 1e-4),
    **{f"Exp1 k={k} ℓ1": (Exp1(sigma=1, k=k), "l1", 1) for k in (2, 10)},
    "Expp p=.2 ℓ1 (e-3)": (ExponentialPower(sigma=1, p=0.2), "l1", 1e-3),
    **{f"Expp p={p} ℓ1": (ExponentialPower(sigma=1, p=float(p)), "l1", 1) for p in (".5", "4", "8")},
    "Exp2(1,0) ℓ2 level set": (Exp2(sigma=1, k=1), "l2", 1),
    **{f"Exp2(2,{j}) ℓ2": (Exp2(sigma=1, k=2, j=j), "l2", 1) for j in (500, 3064, 3068, 3071)},
    **{f"Pow2(2,{a}) ℓ2": (Pow2(sigma=1, k=2, a=a), "l2", 1) for a in (1540, 1544)},
}
OTHER = np.array([0.6, 0.75, 0.9, 0.99])
MNIST = [  # d = 784
    (UniformBall(sigma=1), "l2", ".25156156 .63786698 1.0497111 1.3187519"),
    (ExpInf(sigma=1, k=10, j=100), "l1", ".34633453 .86583632 1.3853381 1.6970392"),
    (ExpInf(sigma=1, k=10), "linf", "4.8366679e-4 1.4639912e-3 3.2794035e-3 7.4948614e-3"),
    (PowInf(sigma=1, a=912), "l1", ".34169431 .85423578 1.3667772 1.6743021"),
    (PowInf(sigma=1, a=912), "linf", "4.788237e-4 1.4563773e-3 3.284483e-3 7.5940989e-3"),
    (Exp1(sigma=1, k=2), "l1", ".15716454 .48496172 1.1156838 2.6686897"),
    (Exp2(sigma=1, k=1), "l2", ".25310756 .67389407 1.2806626 2.3261332"),
    (Exp2(sigma=1, k=2, j=776), "l2", ".22897944 .61058172 1.1649098 2.1346268"),
    (Exp2(sigma=1, k=2, j=780), "l2", ".20281286 .54531496 1.0550215 1.9708404"),
    (Pow2(sigma=1, k=2, a=400), "l2", ".24071739 .64092053 1.2181000 2.2132619"),
    (Uniform(sigma=1), "linf", "4.6550384e-4 1.2708892e-3 2.2563463e-3 2.9738936e-3"),
]
SCALES = [  # law, d = 784, d = 3072
    (UniformBall(sigma=1), 0.03566881875, 0.01803632567),
    (ExpInf(sigma=1, k=10), 0.8937218176, 1.023920534),
    (ExpInf(sigma=1, k=10, j=100), 0.8815437714, 1.02053313),
    (Exp1(sigma=1, k=2), 0.03569153051, 0.01803926007),
    (Exp2(sigma=1, k=1), 28.01785145, 55.43464621),
    (Pareto(sigma=1, a=6), 0.316227766, 0.316227766),
    (ExponentialPower(sigma=1, p=4), 0.581368317, 0.581368317),
]


def test_every_printed_radius_is_met(shared):
    """To the digits printed, d = 3072. The rows are those of the two-column table of radii at sigma 1."""
    text = shared("methods/l1_and_noise_families.md").read_text()
    table = text[text.index("### 2.7") : text.index("### 2.8")]
    missing = []
    for name, (law, norm, unit) in ROWS.items():
        line = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", table, re.MULTILINE)
        if line is None:
            missing.append(name)
            continue
        printed = np.array([float(value) for value in line[1].split("|")]) * unit
        np.testing.assert_allclose(radius(law, norm, P_LOWER, 3072), printed, rtol=8e-6, atol=3e-6 * unit, err_msg=name)
    assert not missing


@pytest.mark.parametrize(("law", "norm", "printed"), MNIST, ids=lambda value: getattr(value, "kind", None))
def test_radii_at_the_size_of_mnist(law, norm, printed):
    found = radius(law, norm, OTHER, 784)
    np.testing.assert_allclose(found, [float(value) for value in printed.split()], rtol=2e-6)


@pytest.mark.parametrize(("law", "small", "large"), SCALES, ids=lambda value: getattr(value, "kind", None))
def test_standard_deviations_at_unit_scale(law, small, large):
    assert law.unit_sigma(784) == pytest.approx(small, rel=2e-9)
    assert law.unit_sigma(3072) == pytest.approx(large, rel=2e-9)


def test_standard_deviations_of_laws_whose_power_goes_with_the_dimension():
    for d, power in ((784, 3.585075788), (3072, 14.02766712)):
        assert PowInf(sigma=1, a=d + 128).unit_sigma(d) == pytest.approx(power, rel=2e-9)
        assert Pow2(sigma=1, k=2, a=d / 2 + 8).unit_sigma(d) == pytest.approx(0.2672612419, rel=2e-9)
    assert Exp2(sigma=1, k=2, j=776).unit_sigma(784) == pytest.approx(0.07142857143, rel=2e-9)
    assert Exp2(sigma=1, k=2, j=3064).unit_sigma(3072) == pytest.approx(0.03608439182, rel=2e-9)


@pytest.mark.parametrize(("dim", "k"), [(784, 380), (3072, 250), (3072, 1530)])
def test_exp2_of_power_2_is_the_generalised_gaussian(dim, k):
    """Exp2(2, j) = N^g(j/2): one law under two names, computed by two quadratures."""
    one, other = Exp2(sigma=0.5, k=2, j=2 * k), GeneralizedGaussian(k=k, sigma=0.5)
    assert one.scale(dim) == pytest.approx(np.sqrt(2) * other.scale(dim), rel=1e-12)
    np.testing.assert_allclose(radius(one, "l2", P_LOWER, dim), radius(other, "l2", P_LOWER, dim), rtol=1e-7)


@pytest.fixture(scope="module")
def published(shared) -> pd.DataFrame:
    rows = pd.read_csv(shared("reference/l1_golden.csv.gz"))
    return rows[rows["noise"] == "uniform"]


def test_published_l1_certificates_of_uniform_noise(published):
    """Every row: the bound from its count at a one-sided 0.0005, and 2λ(p - 1/2), through the pipeline's certificate."""
    certificate = NeymanPearson(sampler="levine", alpha=0.0005, norm="l1")
    assert len(published) > 20_000
    for sigma, rows in published.groupby("sigma"):
        k, n = rows["count1"].to_numpy(np.int64), rows["n_eval"].to_numpy(np.int64)
        columns = {"idx": np.arange(len(k)), "label": 0, "selected": 0, "k0": 64, "n0": 64, "n": n}
        counts = np.stack([k, n - k], axis=1)
        table = certificate.certify(Drawn(pd.DataFrame(columns), counts, Uniform(sigma=sigma), 3072))
        np.testing.assert_allclose(table["p_lower"], rows["prob_lb"], rtol=0, atol=1e-7)
        np.testing.assert_allclose(table["radius"], np.maximum(rows["radius_l1"], 0), rtol=0, atol=1e-6)
