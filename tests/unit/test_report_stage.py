"""From lists of certificate tables, as the workflow hands them over, to lines and files."""

from pathlib import Path

import pytest
from report_samples import external_line, line

from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import write_pictures, write_table
from certflow.files.provenance import Provenance
from certflow.kinds.spec import without
from certflow.report.drawn import TABLE_ALONE
from certflow.report.elsewhere import require_in_split, split_end
from certflow.report.stage import plot_figures, read_lines, write_report
from certflow.report.stage import write_table as write_experiment

IMAGES = {"split": "test"}


@pytest.fixture
def experiment(tmp_path):
    """(spec, our tables): two methods with two seeds each, interleaved, and one result made elsewhere."""
    runs, paths = [], []
    for seed in (0, 1):
        for method in ("gaussian", "macer"):
            entry = line(method, seeds=2).seeds[seed]
            made, path = entry.provenance, tmp_path / f"{method}{seed}.tsv"
            wanted = {**made.spec, "images": IMAGES, "method": {"kind": method, "epochs": 2}}
            record = Provenance("certificate", wanted, parents=made.parents, notes=made.notes)
            write_table(path, entry.table, record)
            names = {"method": method, "noise": "gauss-0.25", "certificate": "np", "seed": seed}
            runs.append({**names, "spec": wanted})
            paths.append(str(path))
    theirs = tmp_path / "theirs.tsv"
    columns = ["idx", "label", "predict", "radius", "correct", "time"]
    line().seeds[0].table[columns].to_csv(theirs, sep="\t", index=False)
    spec = {
        "runs": runs,
        "attacks": [],
        "foreign": [
            {
                "label": "theirs",
                "noise": "gauss-0.25",
                "tables": [{"path": str(theirs)}],
                "norm": "l2",
                "beside": "gaussian",
            }
        ],
        "sigmas": {"gauss-0.25": 0.25},
        "published_as": {"gaussian": {"gauss-0.25": "gaussian"}, "macer": {"gauss-0.25": ""}},
        "published": None,
        "envelope": False,
        "split": "test",
        "radii": [0.25, 0.5],
        "title": "Ours",
        "remark": "Look here.",
    }
    return spec, paths


def test_seeds_of_a_line_come_together_and_results_made_elsewhere_last(experiment):
    found = read_lines(*experiment)
    assert [(one.method, len(one.seeds), one.external) for one in found] == [
        ("gaussian", 2, False),
        ("macer", 2, False),
        ("theirs", 1, True),
    ]
    assert [one.published_as for one in found] == ["gaussian", "", ""]
    assert [entry.seed for entry in found[1].seeds] == [0, 1]


def test_a_table_of_other_images_is_refused(experiment):
    spec, ours = experiment
    spec["runs"][2]["spec"]["images"] = {"split": "train"}
    with pytest.raises(ArtefactError, match="gaussian1.tsv.*asked for 'train'"):
        read_lines(spec, ours)


def test_every_table_of_another_model_is_named_with_what_differs(experiment):
    spec, ours = experiment
    for run in spec["runs"]:
        if run["method"] == "macer":
            run["spec"] = {**run["spec"], "method": {"kind": "macer", "epochs": 90, "lbd": 4}}
    with pytest.raises(ArtefactError) as caught:
        read_lines(spec, ours)
    *lines, remedy = str(caught.value).splitlines()
    assert [Path(line.partition(": ")[0]).name for line in lines] == ["macer0.tsv", "macer1.tsv"]
    assert all(
        "method.epochs: file has 2, asked for 90; method.lbd: file has None, asked for 4" in line for line in lines
    )
    assert remedy.startswith("run again with --forcerun ") and remedy.count("macer") == 2


def test_a_figure_of_another_configuration_is_not_shown(experiment, tmp_path):
    spec, ours = experiment
    drawn = {**without(spec, *TABLE_ALONE), "plot": {}}
    figures = [str(tmp_path / f"p_a.{ending}") for ending in ("svg", "png")]
    plot_figures(drawn, ours, [*figures, tmp_path / "p_a.pdf"])
    page, written = (
        {**spec, "plot": {}, "training": [], "strip": None, "corruptions": None, "preview": None},
        tmp_path / "page.html",
    )
    write_report(page, ours, figures=figures, training=[], page=written)
    written.unlink()
    for figure in figures:
        write_report(page | {"title": "Theirs"}, ours, figures=[figure], training=[], page=written)
        written.unlink()
        with pytest.raises(ArtefactError, match=f"{figure}: was made from another spec .plot.title: file has None"):
            write_report(page | {"plot": {"title": "Theirs"}}, ours, figures=[figure], training=[], page=written)
    for ending in ("svg", "json"):
        (tmp_path / f"cost.{ending}").write_bytes((tmp_path / f"p_a.{ending}").read_bytes())
    with pytest.raises(ArtefactError, match=r"cost.svg: was made from another spec .figure: file has 'p_a'"):
        write_report(page, ours, figures=[str(tmp_path / "cost.svg")], training=[], page=written)
    assert not written.exists()


def test_pictures_of_other_denoisers_are_not_shown(experiment, tmp_path):
    spec, ours = experiment
    strip, pictures, written = {"images": 3, "runs": []}, tmp_path / "denoised.svg", tmp_path / "page.html"
    write_pictures([pictures], [b'<svg width="72pt"></svg>'], Provenance("figure", strip))
    page = {**spec, "plot": {}, "training": [], "strip": strip, "corruptions": None, "preview": None}
    write_report(page, ours, figures=[str(pictures)], training=[], page=written)
    written.unlink()
    with pytest.raises(
        ArtefactError, match=r"denoised.svg: was made from another spec .images: file has 3, asked for 4"
    ):
        write_report(page | {"strip": {**strip, "images": 4}}, ours, figures=[str(pictures)], training=[], page=written)
    assert not written.exists()


def test_the_table_is_written_in_every_format(experiment, tmp_path):
    paths = [tmp_path / f"table.{ending}" for ending in ("tex", "md", "tsv")]
    write_experiment(*experiment, paths)
    tex, md, tsv = (path.read_text() for path in paths)
    assert "\\toprule" in tex and md.startswith("# Ours\n") and "Look here." in tex and "Look here." in md
    assert len(tsv.splitlines()) == 1 + 3
    with pytest.raises(ValueError, match="tex, md or tsv"):
        write_experiment(*experiment, [tmp_path / "table.csv"])


def test_images_beyond_the_split_are_refused(tmp_path):
    ours, theirs = line(images=100, stride=2), external_line(images=202)
    assert split_end(ours, {"split": "test", "skip": 0, "stride": 2, "max": None}) == 200
    assert split_end(ours, {"split": "test", "skip": 0, "stride": 2, "max": 100}) is None
    require_in_split(external_line(images=200), 200)
    with pytest.raises(DataError, match="theirs.tsv: image idx 200 is beyond the test split"):
        require_in_split(theirs, 200)


def test_contradicting_labels_are_refused_before_anything_is_written(experiment):
    spec, ours = experiment
    theirs = Path(spec["foreign"][0]["tables"][0]["path"])
    head, *rows = [row.split("\t") for row in theirs.read_text().splitlines()]
    for row in rows:
        row[1], row[2], row[3], row[4] = str((int(row[1]) + 1) % 10), "-1", "0.0", "0"
    theirs.write_text("\n".join("\t".join(row) for row in [head, *rows]))
    with pytest.raises(DataError, match="theirs.tsv: line 2: image idx 0 has label 1, but 0 in .*200 of 200"):
        read_lines(spec, ours)
