"""The page of a diagnosis: its numbers are those of the tables, its figures show them, other models are refused."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnosis_samples import Samples
from test_report_page import Reader

from certflow.config import load
from certflow.config.records import KnowledgeRun
from certflow.errors import ArtefactError, ConfigError
from certflow.report.diagnosis import figures, tables
from certflow.report.diagnosis.models import model_labels
from certflow.report.diagnosis.names import correlation
from certflow.report.diagnosis.scores import SCORES
from certflow.report.diagnosis.stage import read_diagnosis, write_diagnosis
from certflow.report.numbers import DASH
from certflow.report.settings import PlotSettings
from certflow.workflow.targets import concerned


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return Samples(tmp_path_factory.mktemp("diagnosis"))


@pytest.fixture(scope="module")
def found(samples):
    return read_diagnosis(*samples.diagnosis())


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Figures as svg alone: other formats take seconds, and are `save`'s own affair."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("certflow.report.diagnosis.stage.ENDINGS", (".svg",))
        yield


@pytest.fixture(scope="module")
def page(samples, quick, tmp_path_factory):
    """The page, with its figures beside it."""
    folder = tmp_path_factory.mktemp("page")
    write_diagnosis(*samples.diagnosis(), page=folder / "page.html", figures=folder / "figures")
    return folder / "page.html"


def test_the_page_is_one_safe_file_with_every_section(samples, page):
    reader = Reader(page.read_text())
    text = " ".join("".join(reader.text).split())
    assert "Layers of <two>" in text and "Look here." in text and "distributional" in text
    ids = {attributes["id"] for _, attributes in reader.tags if "id" in attributes}
    assert ids == {"volatility", "certificate", "attacks", "scores", "origin"}
    assert {attributes["href"] for tag, attributes in reader.tags if tag == "a"} == {f"#{name}" for name in ids}
    images = [attributes["src"] for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 4 and all(image.startswith("data:image/svg+xml;base64,") for image in images)
    files = samples.diagnosis()[1].all()
    assert all(path in text for path in files) and "each with its digest (SHA-256)" in text
    assert {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files} <= {
        attributes.get("title") for _, attributes in reader.tags
    }
    names = ("volatility", "certificate", "attacks", "scores")
    wanted = {f"{name}{ending}" for name in names for ending in (".svg", ".json")}
    assert {path.name for path in (page.parent / "figures").iterdir()} == wanted


def test_equal_tables_give_equal_pages(samples, page, tmp_path):
    write_diagnosis(*samples.diagnosis(), page=tmp_path / "a.html", figures=tmp_path / "a")
    assert (tmp_path / "a.html").read_bytes() == page.read_bytes()


def test_without_attacks_and_an_experiment_the_page_has_two_sections(samples, tmp_path):
    spec, made = samples.diagnosis(beside=False)
    write_diagnosis(
        {**spec, "attacks": []}, replace(made, attacks=[]), page=tmp_path / "p.html", figures=tmp_path / "f"
    )
    text = (tmp_path / "p.html").read_text()
    assert 'id="certificate"' in text and 'id="attacks"' not in text and 'id="scores"' not in text


def test_scores_are_those_of_the_hidden_layers(found):
    model = found.models[1]
    assert model.layers == ["input", "1.a", "1.b", "logits"] and model.hidden == ["1.a", "1.b"]
    rows = model.volatility[model.volatility.loss == "ce"].set_index("layer")
    last, mean, ball = (score.of(model) for score in SCORES)
    assert last == rows.relative["1.b"] and mean == pytest.approx(rows.relative[["1.a", "1.b"]].mean())
    assert ball == rows.ball_score["1.b"]


def test_certified_shares_and_their_distances_are_rounded_down(found):
    model = found.models[0]
    worst = {"delta_over_mean": 0.4999, "joint_bound": 0.0004, "conditional_bound": 0.2506, "direct_upper": 0.1}
    sharp = replace(model, certificate=model.certificate.assign(**worst))
    cells = tables.certificate_block([sharp]).groups[0].rows[0].cells
    assert [cell.text for cell in cells[1:]] == ["0.49", "99.9", "74.9", "90.0"]


def test_a_correlation_has_a_sign_unless_it_is_printed_as_0():
    assert [correlation(rho) for rho in (0.5, -0.25, 0.001, -0.001)] == ["+0.50", "−0.25", "0.00", "0.00"]
    assert correlation(float("nan")) == DASH


def test_correlations_are_those_of_the_models_and_their_certified_accuracy(found):
    beside = found.beside
    assert [one.model.label for one in beside.models] == [
        "plain, seed 0",
        "regular, seed 1",
        "plain, seed 2",
        "regular, seed 3",
    ]
    assert beside.middle == 1 and all((np.diff(one.certified) <= 0).all() for one in beside.models)
    scores = np.array([one.scores[0] for one in beside.models])
    accuracy = np.array([one.certified[1] for one in beside.models])
    rho, p = beside.correlation(0, 1)
    order = [np.argsort(np.argsort(values)) for values in (scores, accuracy)]
    if len(set(accuracy)) == 4:
        assert rho == pytest.approx(np.corrcoef(*order)[0, 1])
    assert 2 / math.factorial(4) <= p <= 1
    models, correlations = tables.beside_blocks(beside)
    assert "n = 4 models" in correlations.over and correlations.groups[0].rows[0].cells[2].small == f"p = {p:.2g}"
    assert [row.cells[0].text for row in models.groups[0].rows] == [one.model.label for one in beside.models]


def test_the_figures_show_the_numbers_of_the_tables(found):
    settings = PlotSettings()
    volatility = figures.draw_volatility(found.models, settings)
    axis = volatility.axes[2]
    rows = found.models[0].of("ce")
    line, _, (bars,) = axis.containers[0]
    assert line.get_ydata() == pytest.approx(rows.relative) and axis.get_xticklabels()[1].get_text() == "a"
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert np.diff(ends, axis=1)[:, 0] == pytest.approx(2 * 1.96 * rows.relative_error)
    curve = figures.draw_certificate(found.models, settings).axes[-1].lines[0]
    part = found.models[0].certificate[found.models[0].certificate.layer == "1.b"]
    assert curve.get_ydata() == pytest.approx(100 * (1 - part.joint_bound))
    left = figures.draw_attacks(found.models, found.attacks, settings).axes[0].lines[0]
    assert left.get_xdata().tolist() == [0, 0.1, 0.2] and left.get_ydata().tolist() == [100, 100, 50]
    point = figures.draw_scores(found.beside, settings).axes[0].lines[3]
    assert point.get_ydata()[0] == pytest.approx(100 * found.beside.models[3].certified[1])


def test_models_of_other_layers_are_drawn_over_depth(found):
    other = replace(found.models[1], volatility=found.models[1].volatility.replace({"1.a": "2.c"}))
    figure = figures.draw_volatility([found.models[0], other], PlotSettings())
    assert figure.axes[2].get_xlabel().startswith("depth")


@pytest.mark.parametrize("what", ["attack", "certificate"])
def test_tables_of_other_weights_are_refused(samples, tmp_path, what):
    own = Samples(tmp_path)
    spec, made = own.diagnosis()
    if what == "attack":
        own.attack("regular", 1, weights="f" * 64)
    else:
        own.layers("plain", 2, weights="f" * 64)
    with pytest.raises(ArtefactError, match="other weights"):
        read_diagnosis(spec, made)


def test_tables_of_another_specification_are_refused(samples):
    spec, made = samples.diagnosis()
    changed = {**spec["models"][0]["spec"], "seed": 8}
    with pytest.raises(ArtefactError, match="seed: file has 0, asked for 8"):
        read_diagnosis({**spec, "models": [{**spec["models"][0], "spec": changed}, spec["models"][1]]}, made)


def test_models_are_called_by_what_tells_them_apart():
    runs = [{"method": "m", "noise": "a", "seed": 0}, {"method": "m", "noise": "b", "seed": 0}]
    assert model_labels(runs) == ["m, a", "m, b"] and model_labels(runs[:1]) == ["m"]


# ---- the configuration


def raw(**changes):
    """An experiment of four models and a diagnosis beside it."""
    entry = {
        "dataset": "digits", "model": "small", "noises": ["clean", "g"], "methods": ["one", "two"], "knowledge": "layers",
        "attacks": ["flat"], "images": "some", "beside": "table",
    }  # fmt: skip
    table = {"dataset": "digits", "model": "small", "images": "some", "noises": ["g"], "methods": ["one", "two"]}
    return {
        "datasets": {"digits": {"kind": "digits"}},
        "images": {"some": {"max": 20}},
        "noises": {"clean": {"kind": "none"}, "g": {"kind": "gaussian", "sigma": 0.25}},
        "models": {"small": {"kind": "small_conv"}},
        "methods": {"one": {"kind": "gaussian", "epochs": 2}, "two": {"kind": "gaussian", "epochs": 1}},
        "samplers": {"s": {"kind": "fixed", "n0": 10, "n": 100}},
        "certificates": {"np": {"kind": "neyman_pearson", "sampler": "s", "alpha": 0.001}},
        "attacks": {"flat": {"kind": "fgsm", "eps": [0.1]}},
        "knowledge": {"layers": {"points": 100}},
        "experiments": {"table": {**table, "seeds": [0, 1], "certificates": ["np"], "radii": [0.25]}},
        "diagnoses": {"page": {key: value for key, value in {**entry, **changes}.items() if value is not None}},
        "targets": ["table", "page"],
    }


def test_a_diagnosis_names_its_models_and_what_their_tables_are_made_from():
    study = load(raw())
    spec = study.diagnosis_spec("page")
    assert [(run["method"], run["noise"]) for run in spec["models"]] == [
        ("one", "clean"),
        ("two", "clean"),
        ("one", "g"),
        ("two", "g"),
    ]
    run = KnowledgeRun("digits", "small", "one", "g", 0, "layers")
    assert spec["models"][2]["spec"] == study.knowledge_spec(run)
    assert spec["beside"]["models"][1]["seed"] == 1 and len(spec["beside"]["models"]) == 4 and len(spec["attacks"]) == 4
    features, tables = study.features_spec(run), spec["models"][2]["spec"]
    assert "alpha" not in features["features"] and {**features, "measured": tables["measured"]} == tables
    assert concerned(study, ["results/diagnoses/page.html"]) == ["page"] and concerned(study, []) == ["table", "page"]


def test_a_diagnosis_depends_on_the_certificates_of_its_experiment_and_on_nothing_else_there(tmp_path):
    """A table made elsewhere need not be there either."""
    other = raw()
    theirs = {"label": "theirs", "noise": "g", "tables": [str(tmp_path / "nowhere.tsv")]}
    other["experiments"]["table"] |= {"title": "Other", "remark": "Other.", "attacks": ["flat"], "foreign": [theirs]}
    assert load(other).diagnosis_spec("page") == load(raw()).diagnosis_spec("page")
    other["experiments"]["table"]["radii"] = [0.5]
    assert load(other).diagnosis_spec("page") != load(raw()).diagnosis_spec("page")


def test_how_a_model_is_sampled_changes_no_feature():
    other = raw()
    other["models"]["small"]["inference"] = {"precision": "bfloat16"}
    run = KnowledgeRun("digits", "small", "one", "g", 0, "layers")
    assert load(other).knowledge_spec(run) == load(raw()).knowledge_spec(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knowledge": "other"}, "diagnoses.page.knowledge: no entry 'other' in knowledge; known: layers"),
        ({"methods": ["one", "one"]}, "diagnoses.page.methods: 'one' is listed twice"),
        ({"noises": ["g", "g"]}, "diagnoses.page.noises: 'g' is listed twice"),
        ({"seeds": [1, 1]}, "diagnoses.page.seeds: must be different"),
        ({"images": None}, "diagnoses.page.images: is missing; say which images are attacked"),
        ({"beside": "none"}, "diagnoses.page.beside: no entry 'none' in experiments; known: table"),
        ({"model": "rough"}, "diagnoses.page.model: no entry 'rough' in models"),
        ({"colour": "red"}, "diagnoses.page.colour: no such setting"),
    ],
)
def test_what_a_diagnosis_cannot_be_is_said_before_anything_runs(changes, message):
    with pytest.raises(ConfigError) as caught:
        load(raw(**changes))
    assert message in str(caught.value)


def test_an_experiment_of_three_models_is_too_few_to_be_compared_with():
    few = raw()
    few["experiments"]["table"] |= {"methods": ["one"], "seeds": [0, 1, 2]}
    with pytest.raises(ConfigError, match=r"beside: table has 3 models.*name an experiment of 4 or more"):
        load(few)


def test_no_experiment_and_diagnosis_have_the_same_name():
    twice = raw()
    twice["diagnoses"]["table"] = twice["diagnoses"]["page"]
    with pytest.raises(ConfigError, match=r"diagnoses\.table: is the name of an experiment, too"):
        load(twice)
