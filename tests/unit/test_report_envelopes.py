"""Published envelopes: the numbers of their source, said under the table of the experiment that asks for them."""

import csv
from pathlib import Path

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.errors import ConfigError
from certflow.report.envelopes import envelopes, known, sentence

SURE = ("exact", "confirmed", "confirmed-value; radius inferred")
ROOT = Path(__file__).resolve().parents[2]


def every() -> list[dict[str, str]]:
    return [row for name in known() for row in envelopes(*name.split(" ", 1))]


def test_numbers_equal_their_origin(shared):
    origin = csv.DictReader(shared("reference/denoised_tables.csv").read_text().splitlines())
    kept = [row for row in origin if row["certainty"] in SURE and row["dataset"] in ("cifar10", "imagenet")]
    ours = [row for row in every() if row["norm"] == "l2"]
    key = ("method", "variant", "dataset")

    def cells(rows, arch, value, factor):
        return sorted(
            (*(row[k] for k in key), row[arch], float(row["radius"]), round(factor * float(row[value]), 9))
            for row in rows
        )

    assert cells(ours, "arch", "certified_accuracy", 100) == cells(kept, "model", "certified_accuracy_pct", 1)
    exact = [row for row in kept if row["certainty"] == "exact"]
    stated = [row for row in ours if row["standard_accuracy"]]
    assert cells(stated, "arch", "standard_accuracy", 100) == cells(exact, "model", "standard_accuracy_pct", 1)


def test_numbers_of_denoisers_in_l1_equal_their_origin(shared):
    """The best over noise levels, and the standard accuracy of the model that is best, from the rows of its runs."""
    ways = {
        "frozen classifier of clean images, denoiser for mse": "mse",
        "frozen classifier of clean images, denoiser for stability": "stability",
        "classifier trained behind a denoiser for mse": "mse_retrain",
    }
    runs = list(csv.DictReader(shared("reference/l1_tables.csv").read_text().splitlines()))
    ours = [row for row in every() if row["source"].startswith("alevine0")]
    assert len(ours) == 9 * 8
    for row in ours:
        way = ways[row["variant"]]
        told = [run for run in runs if (run["row"], run["denoiser"], run["noise"]) == ("experiment", way, row["noise"])]
        assert sorted(float(run["sigma"]) for run in told) == [float(sigma) for sigma in row["sigmas"].split()]
        best = max(told, key=lambda run: (float(run[f"r{row['radius']}"]), -float(run["sigma"])))
        assert float(best[f"r{row['radius']}"]) == float(row["certified_accuracy"])
        clean = best["top1_acc" if row["noise"] == "dssn" else "certified_positive_acc"]
        assert float(clean) == float(row["standard_accuracy"])
        assert (row["n"], row["alpha"]) == (("", "0") if row["noise"] == "dssn" else ("100000", "0.0005"))


def test_values_are_fractions_that_fall_with_the_radius():
    rows = every()
    assert len(rows) == 101 + 72 + 64
    curves = {}
    for row in rows:
        curves.setdefault((row["dataset"], row["arch"], row["method"], row["variant"], row["noise"]), []).append(row)
    for curve in curves.values():
        values = [float(row["certified_accuracy"]) for row in sorted(curve, key=lambda row: float(row["radius"]))]
        assert values == sorted(values, reverse=True) and 0 <= values[-1] and values[0] <= 1


def test_the_sentence_says_every_method_with_its_settings():
    text = sentence("cifar10", "resnet110", ["gaussian"], "l2")
    assert "N = 10,000): 56 (72) at 0.25; 41 (62) at 0.5" in text
    assert "no denoiser, clean-trained classifier smoothed as is (gaussian, σ among 0.12, 0.25, 0.5, 1.0" in text


def test_an_experiment_gets_the_envelopes_it_asks_for():
    raw = merged([ROOT / "config.yaml", ROOT / "configs/denoised.yaml"])
    raw["experiments"]["cifar10-denoised"]["remark"] = "Mine."
    assert load(raw).table_spec("cifar10-denoised")["remark"].startswith("Mine. Published envelopes on cifar10")
    raw["experiments"]["cifar10-denoised"]["envelopes"]["arch"] = "resnet"
    with pytest.raises(ConfigError, match="envelopes: none of cifar10 resnet; known: .*cifar10 resnet110"):
        load(raw)


def test_numbers_without_draws_say_so():
    text = sentence("cifar10", "wide_resnet40_2", ["dssn"], "l1")
    assert "(dssn, σ among 0.5, 2.0, 3.5; every outcome counted): " in text and "N =" not in text
    assert "Yang et al. 2020" in sentence("imagenet", "resnet50", ["laplace"], "l1")
