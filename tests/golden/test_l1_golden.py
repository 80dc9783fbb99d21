"""Published certificates of uniform and splitting noise (Levine and Feizi 2021), recomputed row by row by our certificates."""

import csv
import gzip
import io
import math

import numpy as np
import pandas as pd
import pytest

from certflow.certify.base import Drawn
from certflow.certify.kinds.dssn import DependentSplittingCertificate
from certflow.certify.kinds.neyman_pearson import NeymanPearson
from certflow.noise import DependentSplitting, IndependentSplitting
from certflow.report.columns import Column, Metric, Statistic, certified_at, frame
from certflow.report.metrics import certified_accuracy
from certflow.report.own_envelope import envelopes_of

ALPHA = 0.0005
"""One-sided level of the published bounds: half of the paper's two-sided 0.001."""
RADII = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


@pytest.fixture(scope="module")
def rows(shared) -> pd.DataFrame:
    text = gzip.decompress(shared("reference/l1_golden.csv.gz").read_bytes()).decode()
    return pd.read_csv(io.StringIO(text))


def drawn(part: pd.DataFrame, counts: np.ndarray, noise, selected) -> Drawn:
    """As the stages would hand it over."""
    plan = pd.DataFrame({"idx": range(len(part)), "label": 0, "selected": selected, "k0": 0, "n0": 64})
    return Drawn(plan.assign(n=part["n_eval"].to_numpy()), counts, noise, 3072)


def as_counts(part: pd.DataFrame, classes: int, second: np.ndarray, most_other: np.ndarray) -> np.ndarray:
    """int64 [rows, classes] with the stated count of the predicted class and of a second one; the rest goes to further classes,
    none of which gets more than the second."""
    rows = np.arange(len(part))
    counts = np.zeros((len(part), classes), np.int64)
    counts[rows, part["pred"]] = part["count1"]
    counts[rows, second] = most_other
    left = part["n_eval"].to_numpy() - counts.sum(1)
    for name in range(classes - 1, -1, -1):
        free = (part["pred"] != name).to_numpy() & (second != name)
        room = np.minimum(np.where(free, np.where(name > second, most_other, most_other - 1).clip(0), 0), left)
        counts[rows, name] += room
        left = left - room
    assert (left == 0).all()
    return counts


def test_bounds_and_radii_of_independent_splitting(rows):
    """Uniform noise has the same radii at the same bounds; its rows are recomputed by the law of splitting noise too."""
    random = rows[rows["noise"] != "dssn"].reset_index(drop=True)
    assert len(random) > 40_000 and set(random["noise"]) == {"ssn", "uniform"}
    for sigma, part in random.groupby("sigma"):
        part, noise = part.reset_index(drop=True), IndependentSplitting(sigma=sigma)
        certificate = NeymanPearson(sampler="s", norm="l1", alpha=ALPHA)
        counts = np.stack([part["count1"], part["n_eval"] - part["count1"]], 1)
        table = certificate.certify(drawn(part, counts, noise, 0))
        np.testing.assert_allclose(table["p_lower"], part["prob_lb"], rtol=0, atol=1e-7)
        np.testing.assert_allclose(table["radius"], part["radius_l1"].clip(lower=0), rtol=0, atol=1e-6)
        stated = 2 * math.sqrt(3) * sigma * (table["p_lower"] - 0.5)
        np.testing.assert_allclose(stated, part["radius_l1"], rtol=0, atol=1e-6)
        assert ((table["predict"] == -1) == (part["radius_l1"] <= 0)).all()


def test_every_radius_of_dependent_splitting_is_exact(rows):
    dependent = rows[rows["noise"] == "dssn"].reset_index(drop=True)
    assert len(dependent) > 20_000
    certificate = DependentSplittingCertificate(sampler="s")
    for (sigma, experiment), part in dependent.groupby(["sigma", "experiment"]):
        part, noise = part.reset_index(drop=True), DependentSplitting(sigma=sigma)
        assert (part["n_eval"] == noise.outcomes).all()
        classes = 1000 if experiment.startswith("imagenet") else 10
        counts = as_counts(part, classes, part["class2"].to_numpy(np.int64), part["count2"].to_numpy(np.int64))
        table = certificate.certify(drawn(part, counts, noise, 0))
        assert (table["predict"] == part["pred"]).all() and (table["other"] == part["class2"]).all()
        assert (np.rint(table["radius"] * 255) == np.rint(part["radius_l1"] * 255)).all()
        np.testing.assert_allclose(table["radius"], part["radius_l1"], rtol=0, atol=1e-6)


def test_certified_accuracies_are_those_of_the_published_table(rows, shared):
    """Every tenth image of each run against the table over all of them: within 5.5 standard errors."""
    stated = {
        row["experiment"]: row for row in csv.DictReader(shared("reference/l1_tables.csv").read_text().splitlines())
    }
    checked = 0
    for experiment, part in rows.groupby("experiment"):
        right = (part["pred"] == part["label"]).to_numpy()
        for radius in np.arange(0.5, 4.5, 0.5):
            share = float((right & (part["radius_l1"] >= radius - 1e-6)).mean())
            wanted = float(stated[experiment][f"r{radius:.1f}"])
            error = math.sqrt(max(wanted * (1 - wanted), 1e-3) / len(part))
            assert abs(share - wanted) <= 5.5 * error + 1e-9
            checked += 1
    assert checked == 81 * 8


def test_envelopes_of_the_rows_are_the_published_ones(rows, shared):
    """At each radius the best over sigma of the runs that there are rows of, where the winning run is among them: equal to the
    published best on ImageNet (rows of all images), within 5.5 standard errors on CIFAR-10 (every tenth image). Never above."""
    stated = pd.read_csv(shared("reference/l1_tables.csv"), dtype={"stabilized": str})
    runs = stated[stated["row"] == "experiment"].set_index("experiment")
    found = envelopes_of(frame([summary_row(part, runs.loc[name]) for name, part in rows.groupby("experiment")]))
    published = stated[(stated["row"] == "envelope") & (stated["stabilized"] != "any")].set_index(
        ["dataset", "denoiser", "noise", "stabilized"]
    )
    compared = 0
    for row in found.to_dict("records"):
        wanted, levels = (
            published.loc[(*row["method"].split(), row["noise_kind"], row["certificate"])],
            row["levels"].split(),
        )
        for radius in RADII:
            metric, best = certified_at(radius), wanted[f"r{radius}"]
            share, winner = row[Column(metric)], str(wanted[f"best_r{radius}"]).removesuffix("s")
            error = 5.5 * math.sqrt(max(best * (1 - best), 1e-3) / 1000) * (row["n_images"] == 1000)
            assert share <= best + error + 1e-9
            if winner in levels:
                assert share >= best - error - 1e-9
                compared += 1
                if not error:
                    assert f"{row[Column(metric, Statistic.WINNER_SIGMA)]:g}" == winner
                    clean = row[Column(metric, Statistic.WINNER_CLEAN)]
                    assert clean == pytest.approx(wanted[f"top1_at_best_r{radius}"])
    assert len(found) == 21 and compared > 80


def summary_row(part: pd.DataFrame, run: pd.Series) -> dict:
    """A row of a summary: envelopes are of one method and certificate, here the network and whether it was stabilised."""
    right = (part["pred"] == part["label"]).to_numpy()
    shares = certified_accuracy(right, part["radius_l1"].clip(lower=0), RADII)
    facts = {"norm": "l1", "external": False, "images": "", "seeds": "0", "n_seeds": 1, "alpha": ALPHA}
    names = {
        "method": f"{run['dataset']} {run['denoiser']}",
        "noise_kind": run["noise"],
        "certificate": run["stabilized"],
    }
    row = facts | names | {"sigma": run["sigma"], "n_images": len(part), Column(Metric("clean_accuracy")): right.mean()}
    return row | {Column(certified_at(radius)): share for radius, share in zip(RADII, shares, strict=True)}
