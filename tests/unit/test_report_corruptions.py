"""The table of corrupted copies: means over severities and corruptions, published rows beside them, files and page."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_samples import certificate_table, drawn_by, line, linf, provenance

from certflow.errors import ArtefactError
from certflow.files.artefact import write_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.report.corruptions import corruption_blocks, notes, read_corruptions, write_corruptions
from certflow.report.lines import Line, SeedTable
from certflow.report.page import write_page
from certflow.report.published import published
from certflow.report.robustness import CLEAN, MEAN, Robustness, measured, summarise_corruptions
from certflow.report.summary import summarise

RADII = [0.25, 0.5]
IMAGES, PER_SEVERITY = 20, 1000
NAMES = ("fog", "snow", "identity")


def copies_line(seed=0, severities=(1, 2, 3, 4, 5), seeds=1) -> Line:
    """Copies of images 0, 10, ... at some severities, each weaker than the one before."""
    entries = []
    for s in range(seeds):
        parts = []
        for severity in severities:
            part = certificate_table(
                IMAGES, 0.25, mean=1.5 - 0.3 * severity, seed=97 * seed + 10 * s + severity, stride=10
            )
            parts.append(part.assign(idx=part["idx"] + (severity - 1) * PER_SEVERITY))
        record = provenance(0.25, images_per_severity=PER_SEVERITY)
        entries.append(SeedTable(s, pd.concat(parts, ignore_index=True), f"{seed}-{s}.tsv", record))
    return Line("gaussian", "gauss-0.25", 0.25, "np", tuple(entries), published_as="gaussian")


def spec(**entry) -> dict:
    return {
        "radii": RADII,
        "entries": {"c10": {"clean": ["identity"], "averaged": ["fog", "snow"], "published": None} | entry},
        "published": {"dataset": "cifar10", "arch": "cifar_resnet110", "data": None, "model": None},
    }


@pytest.fixture(scope="module")
def found() -> list[Robustness]:
    copies = {("c10", name): copies_line(seed) for seed, name in enumerate(NAMES)}
    return [Robustness(line(images=IMAGES), copies)]


def test_rows_are_means_over_images_severities_and_corruptions(found):
    summary = summarise_corruptions(found, spec(), resamples=200)
    whole = summary[summary["severity"] == 0].set_index("corruption")
    assert list(whole.index) == [CLEAN, *NAMES, MEAN]
    for name in NAMES:
        table = found[0].copies["c10", name].seeds[0].table
        correct, radius = table["correct"] == 1, table["radius"]
        assert whole.loc[name, "acr"] == pytest.approx((correct * radius).mean())
        assert whole.loc[name, "clean_accuracy"] == pytest.approx(correct.mean())
        assert whole.loc[name, "certified_accuracy@0.5"] == pytest.approx((correct & (radius >= 0.5)).mean())
        assert whole.loc[name, "n_images"] == 5 * IMAGES
    for metric in ("acr", "clean_accuracy", "abstention_rate", "certified_accuracy@0.25"):
        assert whole.loc[MEAN, metric] == pytest.approx(whole.loc[["fog", "snow"], metric].mean())
        assert whole.loc[MEAN, f"{metric}_low"] <= whole.loc[MEAN, metric] <= whole.loc[MEAN, f"{metric}_high"]
    clean = summarise([found[0].clean], RADII, resamples=200).iloc[0]
    assert all(
        whole.loc[CLEAN, name] == clean[name] for name in ("acr", "acr_low", "acr_high", "certified_accuracy@0.5")
    )


def test_the_mean_states_the_most_draws_of_any_corruption(found):
    fog, snow = (found[0].copies["c10", name] for name in ("fog", "snow"))
    drawn = snow.seeds[0].table.assign(n=5000)
    more = replace(snow, seeds=(replace(snow.seeds[0], table=drawn),))
    for order in ({"fog": fog, "snow": more}, {"snow": more, "fog": fog}):
        copies = {("c10", name): one for name, one in order.items()}
        summary = summarise_corruptions([Robustness(found[0].clean, copies)], spec(), resamples=0)
        assert set(summary.loc[summary["corruption"] == MEAN, "n"]) == {5000}
        assert set(summary.loc[summary["corruption"] == "fog", "n"]) == {1000}


def test_each_severity_has_rows_without_intervals(found):
    summary = summarise_corruptions(found, spec(), resamples=200)
    for severity in range(1, 6):
        row = summary[(summary["severity"] == severity) & (summary["corruption"] == "fog")].iloc[0]
        table = found[0].copies["c10", "fog"].seeds[0].table
        part = table[table["idx"] // PER_SEVERITY == severity - 1]
        assert row["acr"] == pytest.approx((part["radius"] * part["correct"]).mean()) and np.isnan(row["acr_low"])
    mean = summary[(summary["corruption"] == MEAN) & (summary["severity"] > 0)]
    assert list(mean["severity"]) == [1, 2, 3, 4, 5] and mean["acr"].is_monotonic_decreasing


def test_an_image_is_resampled_with_all_its_copies():
    # Copies that are all alike carry no more information than one of them: the interval must be that of one severity.
    one = copies_line(severities=(1,))
    table = one.seeds[0].table
    alike = pd.concat([table.assign(idx=table["idx"] + s * PER_SEVERITY) for s in range(5)], ignore_index=True)
    five = replace(one, seeds=(replace(one.seeds[0], table=alike),))
    rows = [
        summarise_corruptions([Robustness(one, {("c10", "fog"): each})], spec(), resamples=300).iloc[1]
        for each in (one, five)
    ]
    assert rows[0]["acr_low"] == rows[1]["acr_low"] and rows[0]["acr_high"] == rows[1]["acr_high"]
    assert rows[1]["n_images"] == 5 * rows[0]["n_images"]


def test_seeds_give_a_spread():
    summary = summarise_corruptions(
        [Robustness(line(images=IMAGES, seeds=2), {("c10", "fog"): copies_line(seeds=2)})], spec(), resamples=50
    )
    assert (summary["n_seeds"] == 2).all() and (summary["acr_sd"] > 0).all()


def test_copies_that_are_not_the_same_images_at_each_severity_are_refused():
    one = copies_line(severities=(1, 2))
    table = one.seeds[0].table
    for wrong in (table.iloc[:-1], table.assign(idx=table["idx"] + (table.index == 39))):
        with pytest.raises(ArtefactError, match="same images at every severity"):
            measured(replace(one, seeds=(replace(one.seeds[0], table=wrong),)), RADII)


def test_published_rows_stand_beside_the_same_corruption(found):
    summary = summarise_corruptions(found, spec(published="cifar10c"), resamples=50)
    origin = published("cifar10c", "cifar_resnet110", "gaussian", "gaussian", "l2", 0.25).set_index(
        ["metric", "radius"]
    )["value"]
    whole = summary[summary["severity"] == 0].set_index("corruption")
    assert whole.loc["fog", "published_acr"] == origin.xs("corruption_acr:fog", level=0).iloc[0]
    assert whole.loc["fog", "published_certified_accuracy@0.5"] == origin["corruption_certified_accuracy:fog", 0.5]
    assert whole.loc[MEAN, "published_clean_accuracy"] == origin["corruption_clean_accuracy:mean", 0.0]
    gap = whole.loc[MEAN, "clean_accuracy"] - whole.loc[MEAN, "published_clean_accuracy"]
    assert whole.loc[MEAN, "difference_clean_accuracy"] == gap
    assert np.isnan(whole.loc["identity", "published_acr"]) and np.isnan(whole.loc[CLEAN, "published_acr"])
    at3 = summary[(summary["severity"] == 3) & (summary["corruption"] == MEAN)].iloc[0]
    assert at3["published_acr"] == origin.xs("corruption_acr:mean:severity3", level=0).iloc[0]
    assert at3["published_n_images"] == 100 and whole.loc["fog", "published_n_images"] == 500
    (said,) = [note for note in notes(summary) if "alinlab/smoothing-catrs, 500 copies" in note]
    assert said.endswith("; published with N = 100,000 draws per image, ours with N = 1,000 draws per image.")


def test_a_mean_over_other_corruptions_stands_beside_no_published_one(found):
    for averaged, known in ((["snow", "fog"], True), (["fog"], False), (["fog", "snow", "frost"], False)):
        summary = summarise_corruptions(found, spec(published="cifar10c", averaged=averaged), resamples=0)
        theirs = summary.set_index(["corruption", "severity"])["published_acr"]
        assert np.isfinite(theirs[MEAN, 0]) == np.isfinite(theirs[MEAN, 3]) == known
        assert np.isfinite(theirs["fog", 0])


def test_what_was_not_asked_about_is_unknown_of_copies_too():
    asked = spec_class("sampler", "decide").small(radii=RADII, judge="label")
    copies = {("c10", name): drawn_by(copies_line(), asked) for name in ("fog", "snow")}
    told = spec(published="cifar10c")
    summary = summarise_corruptions([Robustness(drawn_by(line(images=IMAGES), asked), copies)], told, resamples=50)
    unknown = ("clean_accuracy", "clean_accuracy_low", "abstention_rate", "difference_clean_accuracy", "difference_acr")
    assert summary[[*unknown]].isna().all(axis=None) and summary["acr"].notna().all()
    said = notes(summary)
    assert any(note.startswith("Radii of all rows are the largest of 0.25, 0.5 ") for note in said)
    assert any(note.startswith("Labels were judged:") for note in said)


def test_rows_over_all_severities_are_not_compared_with_some_of_them():
    copies = {("c10", name): copies_line(severities=(1, 3)) for name in ("fog", "snow")}
    summary = summarise_corruptions([Robustness(line(images=IMAGES), copies)], spec(published="cifar10c"), resamples=50)
    theirs = summary.set_index(["corruption", "severity"])["published_acr"]
    assert np.isnan(theirs["fog", 0]) and np.isnan(theirs[MEAN, 0]) and np.isfinite(theirs[MEAN, 3])


@pytest.mark.parametrize("names", [("fog",), ("fog", "identity")])
def test_one_corruption_has_no_mean_and_shows_its_severities(names):
    copies = {("c10", name): copies_line(severities=(1, 3)) for name in names}
    summary = summarise_corruptions([Robustness(line(images=IMAGES), copies)], spec(), resamples=50)
    assert MEAN not in set(summary["corruption"])
    (block,) = corruption_blocks(summary)
    shown = [row.cells[0].text for row in block.groups[0].rows]
    assert shown == [CLEAN, *names, *(f"{name}, severity {s}" for name in names for s in (1, 3))]
    assert "mean" not in notes(summary)[0]


def test_the_table_has_a_group_per_line_and_names_the_mean(found):
    summary = summarise_corruptions(found, spec(published="cifar10c"), resamples=50)
    (block,) = corruption_blocks(summary)
    assert block.columns == ("images", "ACR", "clean (%)", "0.25", "0.50") and len(block.groups) == 1
    assert block.groups[0].title == "gaussian, σ = 0.25"
    names = [row.cells[0].text for row in block.groups[0].rows if row.role == "ours"]
    assert names == [CLEAN, *NAMES, MEAN, *(f"{MEAN}, severity {s}" for s in range(1, 6))]
    assert [row.role for row in block.groups[0].rows[1:4]] == ["ours", "published", "difference"]


def test_radii_in_another_norm_are_called_so_and_compared_with_nothing(found):
    inside = [Robustness(linf(one.clean), {key: linf(copy) for key, copy in one.copies.items()}) for one in found]
    summary = summarise_corruptions(inside, spec(published="cifar10c"), resamples=50)
    (block,) = corruption_blocks(summary)
    assert block.over == "certified accuracy (%) at ℓ∞ radius" and summary["published_acr"].isna().all()


def wanted(**images) -> dict:
    return {**provenance(0.25).spec, "images": images}


def write(folder, name: str, entry: SeedTable, **images) -> str:
    record = entry.provenance
    made = Provenance("certificate", wanted(**images), parents=record.parents, notes=record.notes)
    write_table(folder / f"{name}.tsv", entry.table, made)
    return str(folder / f"{name}.tsv")


def test_files_are_written_from_certificates_and_read_back(found, tmp_path):
    clean = write(tmp_path, "clean", found[0].clean.seeds[0], split="test")
    copies = {
        name: write(tmp_path, name, found[0].copies["c10", name].seeds[0], corruption={"name": name}) for name in NAMES
    }
    run = {"method": "gaussian", "noise": "gauss-0.25", "certificate": "np", "seed": 0}
    full = spec() | {
        "title": "Ours",
        "sigmas": {"gauss-0.25": 0.25},
        "published_as": {"gaussian": {"gauss-0.25": "gaussian"}},
        "split": "test",
        "runs": [{**run, "spec": wanted(split="test")}],
        "copies": [
            {**run, "entry": "c10", "corruption": name, "spec": wanted(corruption={"name": name})} for name in NAMES
        ],
    }
    paths = [tmp_path / f"table.{ending}" for ending in ("tex", "md", "tsv")]
    write_corruptions(full, [clean], list(copies.values()), paths)
    tex, md = (path.read_text() for path in paths[:2])
    assert "mean of corruptions" in tex and "\\toprule" in tex and "| line | images |" in md
    table = read_corruptions(paths[2], full)
    expected, origin = summarise_corruptions(found, spec()), ["tables", "digests"]
    pd.testing.assert_frame_equal(table.drop(columns=origin), expected.drop(columns=origin), check_dtype=False)
    with pytest.raises(ArtefactError, match=r"table\.tsv: .*title: file has 'Ours', asked for 'Theirs'"):
        read_corruptions(paths[2], full | {"title": "Theirs"})
    assert table.loc[table["corruption"] == "fog", "tables"].iloc[0] == copies["fog"]
    page = tmp_path / "page.html"
    write_page(
        page, summarise([found[0].clean], RADII, resamples=50), [found[0].clean], title="Ours", corruptions=table
    )
    text = page.read_text()
    assert "Corrupted copies of the images" in text and "mean of corruptions" in text
    assert '<a href="#corruptions">' in text and 'id="corruptions"' in text
    full["copies"][0]["spec"]["images"]["corruption"]["name"] = "snow"
    with pytest.raises(ArtefactError, match="file has 'fog', asked for 'snow'"):
        write_corruptions(full, [clean], list(copies.values()), paths)
