"""Lines are read from checked tables, and tables travel to and from the field's scripts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_samples import certificate_table, external_line, in_norm, line, linf, provenance

from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import write_table
from certflow.report.layout import blocks
from certflow.report.lines import Line, SeedTable, describe_images, read_external_line, read_line
from certflow.report.summary import summarise


@pytest.mark.parametrize(
    ("idx", "text"),
    [
        (np.arange(500) * 20, "test 0:10000:20 (500 images)"),
        (np.arange(10000), "test 0:10000 (10000 images)"),
        (np.arange(500, 1000), "test 500:1000 (500 images)"),
        ([7], "test 7 (1 image)"),
        ([9, 3, 4], "test 3 of 3:10, not evenly spaced (3 images)"),
    ],
)
def test_images_are_named_as_a_slice(idx, text):
    assert describe_images(idx, "test") == text


def test_what_a_line_says_about_itself():
    ours, theirs = line(seeds=2, n=1000), external_line()
    assert (ours.alpha, ours.draws, ours.n_images, ours.external) == (0.001, (1000, 1000), 200, False)
    assert ours.certificate_kind == "neyman_pearson" and ours.images == "test 0:200 (200 images)"
    assert np.isnan(theirs.alpha) and theirs.draws is None and theirs.external and theirs.certificate_kind == ""


def test_tables_are_read_with_their_provenance(tmp_path):
    path = tmp_path / "np.tsv"
    table = certificate_table(50, 0.5)
    write_table(path, table, provenance(0.5))
    found = read_line("gaussian", "gauss-0.5", 0.5, "np", {3: path})
    assert found.seeds[0].seed == 3 and found.alpha == 0.001
    assert (found.seeds[0].table["radius"].to_numpy() == table["radius"].to_numpy()).all()


def test_a_table_of_another_noise_level_is_refused(tmp_path):
    path = tmp_path / "np.tsv"
    write_table(path, certificate_table(5, 0.5), provenance(0.5))
    with pytest.raises(ArtefactError, match=r"np\.tsv: was certified under sigma=0\.5, the report asks for 0\.25"):
        read_line("gaussian", "gauss-0.25", 0.25, "np", {0: path})


def test_an_edited_table_is_refused(tmp_path):
    path = tmp_path / "np.tsv"
    write_table(path, certificate_table(5, 0.5), provenance(0.5))
    path.write_text(path.read_text().replace("\t0.", "\t1.", 1))
    with pytest.raises(ArtefactError, match="edited or truncated"):
        read_line("gaussian", "gauss-0.5", 0.5, "np", {0: path})


def test_seeds_must_share_images_and_alpha():
    first, second = line(seeds=2).seeds
    moved = replace(second, table=second.table.assign(idx=second.table["idx"] + 1))
    with pytest.raises(DataError, match="column idx differs"):
        Line("gaussian", "gauss-0.25", 0.25, "np", (first, moved))
    looser = replace(second, provenance=provenance(0.25, alpha=0.01))
    with pytest.raises(ArtefactError, match=r"different alpha \['0.001', '0.01'\]"):
        Line("gaussian", "gauss-0.25", 0.25, "np", (first, looser))
    with pytest.raises(ValueError, match="at least one"):
        Line("gaussian", "gauss-0.25", 0.25, "np", ())


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("radius", 3, np.inf, "radius is negative or not finite"),
        ("radius", 3, -0.1, "radius is negative or not finite"),
        ("idx", 3, 0, "occurs twice"),
        ("label", 3, 99, r"correct is not \(predict == label\)"),
        ("predict", 3, -1, "correct is not|an abstention has a radius"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(column, row, value, message):
    table = certificate_table(10, 0.5, mean=3.0)
    table[column] = table[column].astype(type(value))
    table.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        Line("gaussian", "gauss-0.5", 0.5, "np", (SeedTable(0, table, "t.tsv"),))


def field_analysis(path, radii):
    """What the field's analysis scripts compute from a file: read as tab-separated text, correct AND radius >= r."""
    table = pd.read_csv(path, delimiter="\t")
    return [(table["correct"] & (table["radius"] >= radius)).mean() for radius in radii]


def test_certificate_tables_are_readable_by_the_fields_scripts(tmp_path):
    from certflow.report.metrics import certified_accuracy

    ours, bare = tmp_path / "np.tsv", tmp_path / "field.tsv"
    table = certificate_table(300, 0.5)
    write_table(ours, table, provenance(0.5))
    bare.write_text(first_six(ours))
    radii = [0.0, 0.25, 0.5, 1.0, 1.5]
    expected = certified_accuracy(table["correct"], table["radius"], radii).tolist()
    assert field_analysis(ours, radii) == expected == field_analysis(bare, radii)
    assert bare.read_text().splitlines()[0] == "idx\tlabel\tpredict\tradius\tcorrect\ttime"


def first_six(path) -> str:
    """What `cut -f 1-6` makes of a table."""
    return "".join("\t".join(row.split("\t")[:6]) + "\n" for row in path.read_text().splitlines())


def test_the_first_six_columns_read_back_as_results_from_elsewhere(tmp_path):
    whole, path = tmp_path / "np.tsv", tmp_path / "field.tsv"
    ours = line(sigma=0.5)
    write_table(whole, ours.seeds[0].table, provenance(0.5))
    path.write_text(first_six(whole))
    theirs = read_external_line("theirs", "gauss-0.5", 0.5, [path], norm="l2")
    for name in ("idx", "label", "predict", "radius", "correct"):
        assert (theirs.seeds[0].table[name].to_numpy() == ours.seeds[0].table[name].to_numpy()).all()
    assert theirs.seeds[0].table["seconds"].to_numpy() == pytest.approx(
        ours.seeds[0].table["seconds"].to_numpy(), abs=1e-6
    )
    assert theirs.external


def test_a_line_says_the_norm_of_its_radii():
    plain = line()
    assert plain.norm == "l2"
    inside = linf(plain)
    assert inside.norm == "linf"
    summary = summarise([inside], [0.0, 0.001], resamples=10)
    assert blocks(summary)[0].over == "certified accuracy (%) at ℓ∞ radius"
    with pytest.raises(ValueError, match="different norms"):
        summarise([plain, inside], [0.1], resamples=10)
    odd = in_norm(plain, "l3")
    with pytest.raises(ArtefactError, match="l3"):
        _ = odd.norm
