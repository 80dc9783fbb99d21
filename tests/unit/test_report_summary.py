"""A summary holds each metric with its error, its images and its published counterpart."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import external_line, line, provenance, published_rows

from certflow.noise import DependentSplitting
from certflow.report.columns import (
    Column,
    Metric,
    Statistic,
    UnderAttack,
    certified_at,
    columns_of,
    frame,
    metrics,
    radii_among,
    typed,
)
from certflow.report.compare import PublishedCells
from certflow.report.lines import Line
from certflow.report.metrics import average_certified_radius, certified_accuracy
from certflow.report.notes import notes, table_notes
from certflow.report.p_a import probits
from certflow.report.summary import summarise
from certflow.stats import bootstrap_interval, failures_quantile

RADII = [0.0, 0.25, 0.5]
CELLS = PublishedCells("cifar10", "cifar_resnet110", lookup=published_rows)


def test_one_seed_by_hand():
    ours = line(images=300)
    table = ours.seeds[0].table
    row = summarise([ours], RADII, resamples=500).iloc[0]
    correct, radius = table["correct"].to_numpy(), table["radius"].to_numpy()
    assert row["acr"] == pytest.approx(average_certified_radius(correct, radius), rel=1e-14)
    assert row["certified_accuracy@0.25"] == pytest.approx(certified_accuracy(correct, radius, 0.25), rel=1e-14)
    low, high = bootstrap_interval(correct * radius, 0.95, 500, 0)
    assert (row["acr_low"], row["acr_high"]) == pytest.approx((low, high), rel=1e-12)
    assert row["acr_low"] < row["acr"] < row["acr_high"]
    assert np.isnan(row["acr_sd"]) and (row["n0"], row["n"], row["samples_per_image"]) == (100, 1000, 1100)
    assert (row["images"], row["n_images"], row["seeds"], row["alpha"]) == ("test 0:300 (300 images)", 300, "0", 0.001)
    assert row["tables"] == str(ours.seeds[0].path) and row["digests"] == ours.seeds[0].provenance.digest


def test_bounds_of_the_true_accuracy():
    ours = line(images=300)
    row = summarise([ours], RADII).iloc[0]
    hits = int((ours.seeds[0].table["correct"] * (ours.seeds[0].table["radius"] >= 0.25)).sum())
    q = failures_quantile(300, 0.001, 0.001)
    assert row["failures_quantile"] == q and row["expected_failures"] == pytest.approx(0.3)
    assert row["certified_accuracy@0.25_bound"] == pytest.approx((hits - q) / 300)
    assert row["certified_accuracy@0.25_bound"] < row["certified_accuracy@0.25"]


def test_several_seeds_are_averaged_and_spread():
    ours = line(images=200, seeds=3)
    row = summarise([ours], RADII).iloc[0]
    by_seed = [average_certified_radius(e.table["correct"], e.table["radius"]) for e in ours.seeds]
    assert row["acr"] == pytest.approx(np.mean(by_seed)) and row["acr_sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert (row["n_seeds"], row["seeds"]) == (3, "0 1 2")
    q = failures_quantile(600, 0.001, 0.001)
    assert row["certified_accuracy@0.5_bound"] == pytest.approx(row["certified_accuracy@0.5"] - q / 600)
    assert any("± standard deviation" in note for note in notes(summarise([ours], RADII)))


def test_intervals_never_leave_the_possible_values():
    summary = summarise([line(images=30, mean=3.0, seed=s) for s in range(5)], RADII, resamples=200)
    ends = summary[[name for name in summary if name.endswith(("_low", "_high"))]].to_numpy(float)
    assert (ends >= 0).all() and not np.signbit(ends).any()


def test_equal_input_gives_equal_intervals():
    ours = line(images=200)
    assert summarise([ours], RADII).equals(summarise([ours], RADII))


def test_results_from_elsewhere_have_gaps_where_nothing_is_known():
    row = summarise([external_line()], RADII).iloc[0]
    assert (
        row["external"]
        and np.isnan([row["alpha"], row["samples_per_image"], row["certified_accuracy@0.25_bound"]]).all()
    )
    assert np.isfinite([row["acr"], row["acr_low"], row["seconds_per_image"]]).all()


def test_published_numbers_stand_beside_ours():
    row = summarise([line(images=200, n=100_000)], RADII, CELLS).iloc[0]
    assert (row["published_source"], row["published_n_images"], row["published_acr"]) == ("ours/large", 10000, 0.424)
    assert row["difference_certified_accuracy@0.25"] == pytest.approx(row["certified_accuracy@0.25"] - 0.608)
    said = "published on test 0:10000 (10000 images), ours on test 0:200 (200 images)"
    assert row["comparison"] == f"not on the same images: {said}" and not row["published_same_images"]


def test_of_equal_claims_the_one_on_our_images_is_taken():
    ours = line(images=200, stride=10, n=100_000)
    summary = summarise([ours], RADII, CELLS, resamples=0)
    row = summary.iloc[0]
    assert row["published_source"].startswith("printed/small") and row["published_same_images"]
    assert row["difference_acr"] == pytest.approx(row["acr"] - 0.434)
    assert row["comparison"] == "on the same images, test 0:2000:10 (200 images)"
    assert any("no standard error" in note for note in notes(summary))
    reordered = replace(ours, seeds=(replace(ours.seeds[0], table=ours.seeds[0].table[::-1]),))
    assert summarise([reordered], RADII, CELLS, resamples=0).iloc[0]["published_same_images"]


@pytest.mark.parametrize("change", [{"split": "train"}, {"data": "cifar10-jpeg"}])
def test_numbers_of_another_split_or_copy_are_not_the_same_images(change):
    cells = replace(CELLS, data=change.pop("data", None))
    summary = summarise([replace(line(images=200, stride=10), **change)], RADII, cells, resamples=0)
    row = summary.iloc[0]
    assert row["published_source"] == "ours/large" and not row["published_same_images"]
    assert row["comparison"].startswith("not on the same images: ")
    assert not any("no standard error" in note for note in notes(summary))


def test_every_difference_to_the_published_setting_is_said():
    cells = replace(CELLS, data="cifar10-jpeg", model="cifar_resnet20")
    ours = line(images=200, n=1000)
    spec = dict(provenance(0.25).spec) | {"certificate": {"kind": "dsrs", "alpha": 0.001}}
    ours = replace(ours, seeds=(replace(ours.seeds[0], provenance=replace(provenance(0.25), spec=spec)),))
    said = summarise([ours], RADII, cells).iloc[0]["comparison"]
    for fact in (
        "not on the same images: published on test 0:10000 (10000 images), ours on test 0:200 (200 images)",
        "the data differ: published on cifar10, ours on cifar10-jpeg",
        "the networks differ: published cifar_resnet110, ours cifar_resnet20",
        "published certificates are of kind neyman_pearson, ours dsrs",
        "published with N = 100,000 draws per image, ours with N = 1,000 draws per image",
    ):
        assert fact in said


def test_other_bounds_than_the_published_ones_are_said():
    ours = line(images=200, n=100_000)
    record = ours.seeds[0].provenance
    certificate = {**record.spec["certificate"], "bound": "randomized", "bound_form": "auto"}
    changed = replace(record, spec={**record.spec, "certificate": certificate})
    said = summarise([replace(ours, seeds=(replace(ours.seeds[0], provenance=changed),))], RADII, CELLS).iloc[0][
        "comparison"
    ]
    assert "published with plain bounds of one class, ours with bound: randomized, bound_form: auto" in said


def test_no_published_number_where_the_recipe_or_level_differs():
    lines = [line(sigma=0.5), line(published_as=""), external_line()]
    summary = summarise(lines, RADII, CELLS)
    assert (summary["published_source"] == "").all() and summary["published_acr"].isna().all()


def test_the_closest_published_result_is_taken():
    def lookup(dataset, arch, method, noise, norm, sigma):
        rows = published_rows(dataset, arch, "gaussian", noise, norm, 0.25).assign(alpha=0.01)
        return rows.assign(method="gaussian@alpha=0.01") if method == "gaussian@alpha=0.01" else rows.iloc[:0]

    found = PublishedCells("imagenet", "resnet50", lookup=lookup).find("gaussian", "gaussian", "l2", 0.25, range(500))
    assert found.alpha == 0.01 and found.source == "ours/large"
    said = replace(CELLS, lookup=lookup).comparison(found, line(images=200, n=100_000))
    assert "published with alpha = 0.01, ours with 0.001" in said
    several = PublishedCells("x", "y", lookup=published_rows)
    assert several.find("gaussian", "gaussian", "l2", 0.25, range(200)).source == "ours/large"


def test_real_published_numbers_are_found():
    found = PublishedCells("cifar10", "cifar_resnet110").find("gaussian", "gaussian", "l2", 0.25, range(10_000))
    assert found.source == "alinlab/smoothing-catrs" and found.values[Metric("acr")] == pytest.approx(0.424024)
    assert found.values[certified_at(0.0)] == found.values[Metric("clean_accuracy")] == pytest.approx(0.7665)
    mnist = PublishedCells("mnist", "lenet")
    whole, part = (mnist.find("gaussian", "gaussian", "l2", 0.25, range(0, 10_000, step)) for step in (1, 20))
    assert (whole.images, part.images, part.n_images) == ("0:10000", "0:10000:20", 500)
    assert part.values[Metric("acr")] - whole.values[Metric("acr")] == pytest.approx(-0.0124, abs=1e-4)


def claiming(certificate: str, n: float, alpha: float, digits: float = np.nan) -> PublishedCells:
    """The samples' published numbers, as if they rested on these claims."""
    claims = {"certificate": certificate, "n": n, "alpha": alpha, "digits": digits}
    return replace(CELLS, lookup=lambda *cell: published_rows(*cell).assign(**claims))


def certified_by(kind: str, alpha: float):
    """One line, by a certificate of that kind at that alpha, as its records say."""
    ours = line(images=200, n=1000)
    record = ours.seeds[0].provenance
    spec = {**record.spec, "certificate": {"kind": kind, "alpha": alpha}}
    notes = {**record.notes, "claim": {**record.notes["claim"], "alpha": alpha}}
    return replace(ours, seeds=(replace(ours.seeds[0], provenance=replace(record, spec=spec, notes=notes)),))


@pytest.mark.parametrize(
    ("theirs", "ours", "facts"),
    [
        (("dssn", np.nan, 0), ("dssn", 0.0), []),
        (("neyman_pearson", 1000, 0.0005), ("neyman_pearson", 0.0005), []),
        (("neyman_pearson", 1000, np.nan), ("neyman_pearson", 0.0005), []),
        (
            ("neyman_pearson", 100_000, 0.0005),
            ("neyman_pearson", 0.001),
            [
                "published with alpha = 0.0005, ours with 0.001",
                "published with N = 100,000 draws per image, ours with N = 1,000 draws per image",
            ],
        ),
        (
            ("dssn", np.nan, 0),
            ("neyman_pearson", 0.001),
            [
                "published with alpha = 0, ours with 0.001",
                "published certificates are of kind dssn, ours neyman_pearson",
                "published with every outcome counted, ours with N = 1,000 draws per image",
            ],
        ),
        (
            ("neyman_pearson", 1000, 0.001),
            ("dssn", 0.0),
            [
                "published with alpha = 0.001, ours with 0",
                "published certificates are of kind neyman_pearson, ours dssn",
                "published with N = 1,000 draws per image, ours with every outcome counted",
            ],
        ),
    ],
)
def test_a_published_claim_is_compared_as_its_row_states_it(theirs, ours, facts):
    said = summarise([certified_by(*ours)], RADII, claiming(*theirs), resamples=0).iloc[0]["comparison"]
    assert said.split("; ")[1:] == facts  # the first: on how many images


def test_rounding_is_said_of_published_numbers_that_were_rounded():
    def told(*cells):
        rows = [summarise([line(images=50)], RADII, one, resamples=0) for one in cells]
        return [note for note in notes(pd.concat(rows, ignore_index=True)) if "rounded to" in note]

    exact = claiming("neyman_pearson", 1000, 0.001)
    (note,) = told(CELLS)
    assert note.startswith("Published radii were rounded to 3 digits before counting")
    assert told(exact) == []
    (note,) = told(CELLS, exact)
    assert note.startswith("Published radii of ours/large were rounded to 3 digits")


def test_numbers_of_every_outcome_stand_beside_every_outcome():
    found = PublishedCells("cifar10", "wide_resnet40_2").find("stabilized", "dssn", "l1", 3.5, range(10_000))
    assert (found.certificate, found.n, found.alpha, found.digits) == ("dssn", None, 0, None)
    assert found.values[certified_at(4.0)] == 0.3646 and found.values[Metric("clean_accuracy")] == 0.5496
    drawn = PublishedCells("imagenet", "resnet50").find("gaussian", "ssn", "l1", 2.0, range(0, 50_000, 100))
    assert (drawn.certificate, drawn.n, drawn.alpha) == ("neyman_pearson", 100_000, 0.0005)
    assert drawn.values[Metric("clean_accuracy")] == 0.504


def test_of_several_real_results_the_one_that_fits_best_is_taken():
    """Of Cohen et al. on ImageNet all results that there are were found to be made at alpha 0.01: then files before tables."""
    found = PublishedCells("imagenet", "resnet50").find("gaussian", "gaussian", "l2", 0.5, range(500))
    assert (found.source, found.method, found.alpha) == ("locuslab/smoothing", "gaussian@alpha=0.01", 0.01)
    small = PublishedCells("cifar10", "cifar_resnet110").find("gaussian", "gaussian", "l2", 0.5, range(500))
    assert small.alpha == 0.001 and "printed" not in small.source


def test_radii_come_back_and_bad_ones_are_refused():
    assert radii_among(summarise([line()], RADII, CELLS).columns) == RADII
    for radii in ([], [0.5, 0.25], [0.25, 0.25], [-1.0]):
        with pytest.raises(ValueError, match="radii that increase"):
            summarise([line()], radii)
    with pytest.raises(ValueError, match="needs lines"):
        summarise([], RADII)


def test_notes_state_the_guarantee_and_never_round_it_in_our_favour():
    summary = summarise([line(images=300, n=1000), line("macer", images=300), external_line()], RADII, CELLS)
    text = "\n".join(notes(summary, remark="Read this first."))
    q = failures_quantile(300, 0.001, 0.001)
    first, second = text.splitlines()[:2]
    assert (
        first.startswith("Error of the choice of images, however many draws each gets") and second == "Read this first."
    )
    assert f"≤ α·m = 0.3 among m = 300 images, and more than {q} with probability at most 0.001 (binomial)" in text
    points = float(text.partition("(unrounded) minus ")[2].partition(" points")[0])
    assert q / 300 <= points / 100 < q / 300 + 1e-4
    for part in ("95 % bootstrap interval", "n0 = 100 and N = 1,000", "Made elsewhere: elsewhere", "ours/large"):
        assert part in text


def test_the_error_of_the_images_is_that_of_every_accuracy_that_is_printed():
    summary = summarise([line(images=100)], RADII)
    summary[[Column(certified_at(radius)) for radius in RADII]] = 0.9
    attacked = Column(UnderAttack("pgd", "l2", True, 0.5))
    for clean, robust, half in ((0.9, 0.9, 5.9), (0.5, 0.9, 9.8), (0.9, 0.5, 9.8)):
        summary["clean_accuracy"], summary[attacked] = clean, robust
        assert f"up to ±{half} points with 100 images" in table_notes(summary)[0]


def test_a_line_of_varying_draws_says_so():
    ours = line(images=200)
    table = ours.seeds[0].table.assign(n=np.where(np.arange(200) < 50, 500, 1000))
    varying = Line("planned", "gauss-0.25", 0.25, "np", (replace(ours.seeds[0], table=table, path=Path("p.tsv")),))
    row = summarise([varying], RADII).iloc[0]
    assert row["samples_vary"] and row["n"] == 1000 and row["samples_per_image"] == 975


def test_notes_say_of_deterministic_radii_that_no_probability_is_involved():
    law = DependentSplitting(sigma=0.5)
    record = provenance(0.5, alpha=0.0, norm="l1", domain="8-bit grid")
    certificate = {"revision": 1, "kind": "dssn", "sampler": "all", "alpha": 0.0, "norm": "l1"}
    record = replace(record, spec={"noise": law.canonical(), "certificate": certificate})
    entry = line(sigma=0.5).seeds[0]
    table = entry.table.assign(n0=0, k0=0, n=441, p_lower=1.0)
    counted = Line("levine", "dssn-0.50", 0.5, "dssn", (replace(entry, table=table, provenance=record),))
    summary = summarise([counted], RADII)
    assert summary["failures_quantile"][0] == 0 and summary["expected_failures"][0] == 0
    share, bound = (summary[f"certified_accuracy@0.25{end}"][0] for end in ("", "_bound"))
    assert bound == pytest.approx(share)
    text = "\n".join(notes(summary))
    assert "Deterministic" in text and "no probability involved" in text and "wrong with probability" not in text
    assert np.isfinite(probits(counted)).all()


def test_notes_tell_exact_noise_from_noise_in_floating_point():
    ours, theirs = line(), external_line()
    entry = ours.seeds[0]
    exact = Line("sound", "gauss-0.25", 0.25, "np", (replace(entry, provenance=provenance(0.25, domain="8-bit grid")),))
    assert summarise([ours, exact, theirs], RADII)["arithmetic"].tolist() == ["float", "exact", ""]
    text = "\n".join(notes(summarise([ours, exact, theirs], RADII)))
    assert "Noise of gaussian: float (" in text and "Noise of sound: exact (" in text
    assert "Noise: exact (" in "\n".join(notes(summarise([exact], RADII)))
    mixed = replace(exact, seeds=(exact.seeds[0], replace(entry, seed=1)))
    assert mixed.arithmetic == "float"


def test_warnings_about_imported_models_stand_under_the_table():
    from certflow.report.notes import notes

    plain = line(method="ours")
    entry = replace(plain.seeds[0], provenance=provenance(0.25, model_warnings=["its classes are in another order"]))
    warned = replace(plain, method="theirs", seeds=(entry,))
    summary = summarise([plain, warned], RADII)
    assert summary["warnings"].tolist() == ["", "its classes are in another order"]
    assert "Warning about the model of theirs at σ = 0.25: its classes are in another order." in notes(summary)
    assert not any("Warning" in text for text in notes(summarise([plain], RADII)))


def test_columns_say_what_they_hold_and_keep_saying_it():
    """Through selections, new columns and concatenation, and after a file was read; no name is taken apart."""
    summary = summarise([line(), line("macer")], RADII, CELLS, resamples=10)
    for table in (summary, summary[summary["method"] == "macer"].assign(law="x"), pd.concat([summary, summary])):
        assert radii_among(table.columns) == RADII
        assert all(isinstance(name, Column) for name in table.columns if name in columns_of(metrics(RADII)))
    read = pd.read_csv(io.StringIO(summary.to_csv(index=False)))
    assert radii_among(read.columns) == [] and radii_among(typed(read, metrics(RADII)).columns) == RADII
    assert list(typed(read, metrics(RADII)).columns) == list(summary.columns)


@pytest.mark.parametrize(
    ("of", "statistic", "name"),
    [
        (Metric("acr"), Statistic.MEAN, "acr"),
        (certified_at(0.3), Statistic.LOW, "certified_accuracy@0.3_low"),
        (certified_at(1), Statistic.PUBLISHED, "published_certified_accuracy@1.0"),
        (Metric("acr"), Statistic.DIFFERENCE, "difference_acr"),
        (UnderAttack("my_low@x", "l2", True, 0.5), Statistic.MEAN, "accuracy_under@my_low@x@l2@0.5"),
        (UnderAttack("pgd", "linf", False, 0.5), Statistic.MEAN, "plain_accuracy_under@pgd@linf@0.5"),
    ],
)
def test_names_of_columns(of, statistic, name):
    column = Column(of, statistic)
    assert column == name and (column.of, column.statistic) == (of, statistic)


def test_rows_may_lack_columns_that_others_have():
    table = frame([{"a": 1}, {"a": 2, Column(UnderAttack("x", "l2", True, 0.5)): 0.25}])
    assert table[Column(UnderAttack("x", "l2", True, 0.5))].isna().tolist() == [True, False]
