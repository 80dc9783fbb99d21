"""The report page is one safe, self-contained file, and it traces each row to the files behind it."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from report_samples import certificate_table, external_line, line, provenance

from certflow.errors import ArtefactError
from certflow.files.artefact import read_provenance, write_arrays, write_record, write_table, write_text_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.kinds.spec import digest
from certflow.report.figures import write_figures
from certflow.report.html import circumstances, inches
from certflow.report.lines import Line, SeedTable, read_line
from certflow.report.page import duration, write_page
from certflow.report.settings import PlotSettings
from certflow.report.summary import summarise
from certflow.report.trace import chain_paths, trace
from certflow.report.training import draw_training, read_training_log
from certflow.sampling.plan import read_plan
from certflow.training.log import LOG_FORMAT

VOID = {"meta", "img", "link", "br"}


class Reader(HTMLParser):
    """Checks nesting and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two training logs where the pipeline puts them."""
    found, tmp_path = [], tmp_path_factory.mktemp("logs")
    for noise in ("gauss-0.25", "gauss-0.50"):
        path = tmp_path / f"results/train/digits/small/gaussian/{noise}/seed0/training.tsv"
        epochs = np.arange(5)
        table = pd.DataFrame({"epoch": epochs, "seconds": 30.0, "lr": 0.1, "train_loss": 1 / (1 + epochs)})
        table["train_accuracy"], table["test_loss"], table["test_accuracy"] = np.nan, 1.1 / (1 + epochs), 0.9
        table["images_per_second"] = 1000.0
        write_table(path, table, Provenance(LOG_FORMAT, {}))
        found.append(read_training_log(path, {}))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory, logs):
    """A page with two lines of ours, one from elsewhere, a figure and training logs; names that HTML must escape."""
    tmp_path = tmp_path_factory.mktemp("page")
    lines = [line(), line("<b>bold</b>", mean=2.0), external_line()]
    figure = tmp_path / "certificate_curves.svg"
    write_figures(lines[:1], PlotSettings(), [figure])
    summary = summarise(lines, [0.25, 0.5], resamples=50)
    path = tmp_path / "page.html"
    write_page(path, summary, lines, title="Digits & <more>", remark="Mind the data.", figures=[figure], training=logs)
    return path


def test_the_page_is_well_formed_and_escapes_names(page):
    reader = Reader(page.read_text())
    text = "".join(reader.text)
    assert "Digits & <more>" in text and "<b>bold</b>" in text
    assert not any(tag == "b" for tag, _ in reader.tags)
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert links == {f"#{name}" for name in ids}


def test_the_page_needs_nothing_from_elsewhere(page):
    reader = Reader(page.read_text())
    sources = [attributes["src"] for tag, attributes in reader.tags if tag == "img"]
    assert len(sources) == 2 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert all(b"<svg" in base64.b64decode(source.partition(",")[2]) for source in sources)
    assert not any(tag in ("link", "iframe", "object") or "src" in a and tag == "script" for tag, a in reader.tags)
    assert not re.search(r"url\(|@import|https?://", re.sub(r'src="data:[^"]*"', "", page.read_text()))


def test_the_page_prints_the_table_and_its_guarantees(page):
    text = " ".join("".join(Reader(page.read_text()).text).split())
    summary = summarise([line(), line("<b>bold</b>", mean=2.0), external_line()], [0.25, 0.5], resamples=50)
    for value in summary["certified_accuracy@0.25"]:
        assert f"{100 * value:.1f}" in text
    for part in (
        "expected number of false claims",
        "Mind the data.",
        "test 0:200 (200 images)",
        "gaussian, gauss-0.50, seed0",
        "2 min 30 s",
        "220,000",
        "device",
        "python",
    ):
        assert part in text, part


def test_rows_sort_by_number(page):
    keys = re.findall(r'data-key="([^"]*)"', page.read_text())
    assert "0.25" in keys and "1100" in keys  # sigma, and draws that are printed as 1,100


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_script_of_the_page_is_valid(page, tmp_path):
    script = tmp_path / "page.js"
    script.write_text(page.read_text().partition("<script>")[2].partition("</script>")[0])
    assert subprocess.run(["node", "--check", str(script)], capture_output=True).returncode == 0


def test_equal_input_gives_equal_pages(page, tmp_path, logs):
    lines = [line(), line("<b>bold</b>", mean=2.0), external_line()]
    again, figure = tmp_path / "again.html", page.with_name("certificate_curves.svg")
    summary = summarise(lines, [0.25, 0.5], resamples=50)
    write_page(again, summary, lines, title="Digits & <more>", remark="Mind the data.", figures=[figure], training=logs)
    assert again.read_bytes() == page.read_bytes()


def test_a_page_without_models_or_figures(tmp_path):
    lines = [external_line()]
    write_page(tmp_path / "p.html", summarise(lines, [0.25], resamples=50), lines, title="Theirs")
    assert "No model of this experiment was trained here." in (tmp_path / "p.html").read_text()


PLAN_SPEC = {
    "dataset": spec_class("dataset", "digits")().canonical(),
    "noise": spec_class("noise", "gaussian")(sigma=0.25).canonical(),
    "sampler": spec_class("sampler", "fixed")(n=100).canonical(),
}


def plan_table(selected: int = 1, n: int = 100, seconds: float = 0.5) -> pd.DataFrame:
    stage_1 = {"idx": [0], "label": [1], "selected": [selected], "k0": [9], "k0_other": [1], "n0": [10]}
    return pd.DataFrame({**stage_1, "n": [n], "seconds0": [seconds]})


@pytest.fixture
def chain(tmp_path):
    """A certificate table with every file behind it but the model, as the pipeline lays them out."""
    names = "digits/small/gaussian/gauss-0.25/seed0/digits-test/cohen"
    results = tmp_path / "results"
    manifest = Provenance("dataset", {"kind": "digits"}, parents={"train": "1" * 64, "test": "2" * 64})
    write_record(results / "data/digits.json", manifest)
    origin = {"model": "a" * 64, "data": digest({"train": "1" * 64, "test": "2" * 64})}
    presample = Provenance("presample", {"seed": 0}, parents=origin)
    write_arrays(results / f"presample/{names}.npz", {"counts": np.zeros((2, 2))}, presample)
    plan = Provenance("plan", PLAN_SPEC, parents={"presample": presample.digest, **origin})
    write_table(results / f"plan/{names}.tsv", plan_table(), plan)
    planned = read_plan(results / f"plan/{names}.tsv", PLAN_SPEC).parents
    counts = Provenance("counts", {"seed": 0}, parents={**planned, **origin})
    write_arrays(results / f"sample/{names}.npz", {"counts": np.zeros((2, 2))}, counts)
    parents = {"counts": counts.digest, **planned, **origin}
    made = provenance(0.25)
    record = Provenance("certificate", made.spec, parents=parents, notes=made.notes)
    table = results / f"certificates/{names}/np.tsv"
    write_table(table, certificate_table(20, 0.25), record)
    return table


def states(table):
    (entry,) = read_line("gaussian", "gauss-0.25", 0.25, "np", {0: table}).seeds
    return {step.what: step for step in trace(entry)}


def test_every_number_is_traced_to_its_files(chain):
    steps = states(chain)
    assert {what: step.state for what, step in steps.items()} == {
        "certificate table": "as read",
        "counts": "as used",
        "plan": "as used",
        "stage-1 counts": "as used",
        "model": "not here",
        "images": "as used",
    }
    assert steps["model"].digest == "a" * 64 and steps["plan"].spec == PLAN_SPEC
    assert steps["counts"].path.endswith("sample/digits/small/gaussian/gauss-0.25/seed0/digits-test/cohen.npz")


def test_a_file_that_was_remade_since_is_marked(chain):
    path = chain_paths(chain)["sample"]
    write_arrays(path, {"counts": np.zeros((2, 2))}, Provenance("counts", {"seed": 1}))
    steps = states(chain)
    assert steps["counts"].state == "changed since" and steps["plan"].state == "as used"


def test_a_plan_that_tells_something_else_is_marked_though_its_record_is_the_same(chain):
    """As one remade from stage-1 counts of another device."""
    path, record = chain_paths(chain)["plan"], read_provenance(chain)
    plan = Provenance("plan", PLAN_SPEC, parents={"model": "a" * 64})
    for n, state in ((100, "as used"), (101, "changed since")):
        write_table(path, plan_table(), plan)
        parents = {**record.parents, **read_plan(path, PLAN_SPEC).parents}
        write_table(chain, certificate_table(20, 0.25), replace(record, parents=parents))
        write_table(path, plan_table(2, n, 0.7), plan)
        assert states(chain)["plan"].state == state


def test_a_damaged_file_is_marked_and_does_not_stop_the_report(chain):
    chain_paths(chain)["presample"].write_bytes(b"PK\x03\x04 torn")
    assert states(chain)["stage-1 counts"].state.startswith("unreadable")


def test_a_model_is_traced_by_the_header_of_its_file(chain):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    from certflow.files.tensorheader import to_metadata

    record = Provenance("model", {"method": {"kind": "gaussian"}})
    path = chain_paths(chain)["train"]
    path.parent.mkdir(parents=True)
    write_text_table(path.with_name("training.tsv"), "epoch\n0\n", replace(record, format="training log"))
    save_file({"w": np.zeros(2, np.float32)}, path, metadata=to_metadata(record, "f" * 64))
    steps = states(chain)
    assert steps["model"].state == "changed since"  # the chain was sampled from another model
    log = path.with_name("training.tsv")
    assert steps["training log"].state == "as used" and len(steps["training log"].digest) == 64
    write_text_table(log, "epoch\n0\n", Provenance("training log", {"method": {"kind": "salman"}}))
    assert states(chain)["training log"].state == "changed since"
    log.write_text("epoch\n0\n1\n")
    assert "differs from what was written" in states(chain)["training log"].state


def test_tables_outside_the_house_are_traced_by_their_record_alone(tmp_path):
    ours = line().seeds[0]
    steps = trace(ours)
    assert [step.state for step in steps[:3]] == ["as read", "not here", "not here"] and steps[1].digest == "c" * 64
    path = tmp_path / "theirs.tsv"
    path.write_text("x")
    (step,) = trace(SeedTable(0, ours.table, path))
    assert step.what == "table made elsewhere" and len(step.digest) == 64


def test_training_logs_are_checked(tmp_path, logs):
    path = tmp_path / "gaussian/gauss-0.25/seed0/training.tsv"
    path.parent.mkdir(parents=True)
    made = {"method": {"epochs": 3}}
    record = Provenance(LOG_FORMAT, made)
    write_text_table(path, "epoch\tseconds\n0\t1.0\n", record)
    with pytest.raises(ArtefactError, match=r"training\.tsv: is not a valid training log .it lacks lr, train_loss"):
        read_training_log(path, made)
    write_table(path, logs[0].table, record)
    with pytest.raises(ArtefactError, match=r"training\.tsv: .*method.epochs: file has 3, asked for 90"):
        read_training_log(path, {"method": {"epochs": 90}})
    path.write_text(path.read_text().replace("0.9", "0.8"))
    with pytest.raises(ArtefactError, match=r"training\.tsv: differs from what was written"):
        read_training_log(path, made)


def test_training_curves_tell_methods_or_noise_levels_apart(logs):
    assert logs[0].seconds == 150.0 and (logs[0].method, logs[0].noise, logs[0].seed) == (
        "gaussian",
        "gauss-0.25",
        "seed0",
    )
    one = draw_training(logs)
    assert len(one.axes) == 2 and [t.get_text() for t in one.legends[0].get_texts()][:2] == ["gauss-0.25", "gauss-0.50"]
    assert [axis.get_yscale() for axis in one.axes] == ["log", "linear"]
    other = read_training_log(logs[0].path, {})
    object.__setattr__(other, "method", "macer")
    assert len(draw_training([*logs, other]).axes) == 4


def test_what_was_found_out_is_said_in_words():
    claim = {"norm": "l2", "alpha": 0.001, "domain": "real"}
    record = Provenance(LOG_FORMAT, {}, notes={"claim": claim, "folded": True, "dropped": ["a", "b"], "native": False})
    (found,) = circumstances([("one", record)])
    assert found["notes"] == "claim: (alpha 0.001, domain real, norm l2), dropped: a, b, folded: yes, native: no"


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_figures_keep_their_proportions(tmp_path, ending):
    path = tmp_path / f"p_a.{ending}"
    write_figures([line()], PlotSettings(width_inches=5.0), [path])
    assert inches(path.read_bytes()) == pytest.approx(2.5, abs=0.01)


def test_durations_are_printed_for_people():
    assert [duration(s) for s in (4.21, 59.94, 200, 7500, 3599.7)] == [
        "4.2 s",
        "59.9 s",
        "3 min 20 s",
        "2 h 05 min",
        "1 h 00 min",
    ]


def test_settings_of_a_line_are_shown(tmp_path, chain):
    ours = read_line("gaussian", "gauss-0.25", 0.25, "np", {0: chain})
    assert isinstance(ours, Line)
    write_page(tmp_path / "p.html", summarise([ours], [0.25], resamples=50), [ours], title="T")
    text = "".join(Reader((tmp_path / "p.html").read_text()).text)
    certificate = json.dumps(ours.seeds[0].provenance.spec["certificate"], sort_keys=True, separators=(",", ":"))
    assert certificate in text and ours.seeds[0].provenance.digest[:16] in text
