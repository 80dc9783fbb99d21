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


def test_numbers_equal_their_origin(shared):
    origin = csv.DictReader(shared("reference/denoised_tables.csv").read_text().splitlines())
    kept = [row for row in origin if row["certainty"] in SURE and row["dataset"] in ("cifar10", "imagenet")]
    ours = [row for name in known() for row in envelopes(*name.split(" ", 1))]
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


def test_values_are_fractions_that_fall_with_the_radius():
    rows = [row for name in known() for row in envelopes(*name.split(" ", 1))]
    assert len(rows) == 101
    curves = {}
    for row in rows:
        curves.setdefault((row["dataset"], row["arch"], row["method"], row["variant"]), []).append(row)
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
