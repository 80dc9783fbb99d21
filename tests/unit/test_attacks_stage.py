"""Attacks as a stage: the table, what it is made from, and what a report makes of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from attacks_examples import NOISE, attack, trained
from report_samples import line

from certflow.attacks.stage import COLUMNS, attack_model
from certflow.config import load
from certflow.data.store import content_digest, prepare
from certflow.errors import ArtefactError, BusyError, ConfigError, DataError
from certflow.files.artefact import read_table, write_table
from certflow.files.lock import exclusive
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import save_model
from certflow.models.header import read_header
from certflow.report.attacked import Attacked, read_attacked, survivors
from certflow.report.curves import draw_curves
from certflow.report.layout import blocks
from certflow.report.notes import notes
from certflow.report.settings import PlotSettings
from certflow.report.stage import _attacked
from certflow.report.summary import summarise

DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
SPEC = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.canonical(),
    "method": spec_class("method", "gaussian")().canonical(),
    "noise": NOISE.canonical(),
    "seed": 0,
    "engine": 1,
    "images": {"split": "test", "skip": 3, "stride": 5, "max": 12},
}
SMOOTH = attack("smooth_pgd", eps=[0.0, 0.3, 0.9], steps=4, noises=4, n=100)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a manifest and a trained model."""
    folder = tmp_path_factory.mktemp("attacks")
    prepare(DIGITS, folder / "digits.json")
    made = {key: SPEC[key] for key in ("dataset", "method", "noise", "seed")} | {"model": MODEL.architecture()}
    record = Provenance(format="model", spec=made, parents={"data": content_digest(folder / "digits.json")})
    save_model(folder / "model.safetensors", trained(), record)
    return folder


def run(home, path, spec, **changes):
    made = {**SPEC, "attack": spec.canonical(), **changes}
    files = {"manifest": home / "digits.json", "model": home / "model.safetensors"}
    attack_model(made, DIGITS, **files, table=path, device="cpu")
    return made


def test_the_table_has_a_row_per_radius_and_image_and_says_what_made_it(home, tmp_path):
    made = run(home, tmp_path / "a.tsv", SMOOTH)
    table, record = read_table(tmp_path / "a.tsv", format="attack", spec=made)
    assert tuple(table.columns) == COLUMNS
    assert table["idx"].tolist() == 3 * list(range(3, 63, 5)) and table["eps"].tolist() == 12 * [0] + 12 * [
        0.3
    ] + 12 * [0.9]
    assert record.parents["model"] == read_header(home / "model.safetensors")[1] and record.notes["norm"] == "l2"
    nothing = table[table["eps"] == 0]
    assert (nothing["attacked_predict"] == nothing["predict"]).all() and not nothing["queries"].any()
    assert (table["norm"] <= table["eps"]).all()
    wrong = (table["attacked_predict"] != table["label"]) & (table["attacked_predict"] >= 0)
    assert (table["success"] == (wrong & (table["predict"] == table["label"])).astype(int)).all()
    assert 0 < table["success"].sum() < 30


def test_the_table_is_the_same_for_any_choice_of_images(home, tmp_path):
    run(home, tmp_path / "all.tsv", SMOOTH)
    run(home, tmp_path / "some.tsv", SMOOTH, images={"split": "test", "skip": 13, "stride": 10, "max": 4})
    whole, some = (pd.read_csv(tmp_path / f"{name}.tsv", sep="\t").drop(columns="seconds") for name in ("all", "some"))
    keys = ["eps", "idx"]
    pd.testing.assert_frame_equal(some, some[keys].merge(whole, on=keys)[some.columns])


def test_two_attacks_do_not_write_one_table(home, tmp_path):
    with (
        exclusive(tmp_path / "a.tsv", "attacking"),
        pytest.raises(BusyError, match="attacking is under way by process"),
    ):
        run(home, tmp_path / "a.tsv", SMOOTH)
    assert not (tmp_path / "a.tsv").exists()


def test_a_model_of_another_recipe_and_images_that_there_are_not_are_refused(home, tmp_path):
    with pytest.raises(ArtefactError, match="seed: file has 0, asked for 1"):
        run(home, tmp_path / "a.tsv", SMOOTH, seed=1)
    with pytest.raises(DataError, match="change the `images` entry"):
        run(home, tmp_path / "a.tsv", SMOOTH, images={"split": "test", "skip": 5000, "stride": 1, "max": None})


# -- report -------------------------------------------------------------------------------------------------------------------


def attack_rows(label, predict, after, idx=None):
    """A table from the classes after each radius."""
    count = len(label)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "idx": np.arange(count) if idx is None else idx,
                    "label": label,
                    "predict": predict,
                    "attacked_predict": classes,
                    "success": 0,
                    "norm": 0.0,
                    "eps": eps,
                    "queries": 1,
                    "seconds": 0.0,
                }
            )
            for eps, classes in after.items()
        ]
    )


def test_what_was_found_within_a_radius_lies_within_every_larger_one():
    label, predict = [1, 1, 1, 1, 1], [1, 1, 2, -1, 1]
    table = attack_rows(label, predict, {0.1: [1, 0, 2, -1, -1], 0.2: [1, 1, 2, 0, 1]})
    eps, safe = survivors(table)
    assert eps == (0.0, 0.1, 0.2)
    assert safe.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1]]


def attacked_line(norm="l2", **changes):
    """A line under an attack that leaves exactly what is certified: the lowest ceiling that there can be."""
    plain = line(images=60)
    table, eps = plain.seeds[0].table, (0.0, 0.25, 0.5)
    safe = np.stack([(table["correct"] == 1) & (table["radius"] >= r) for r in eps], axis=1)
    return replace(
        plain,
        attacks=(Attacked("smooth", norm, True, eps, safe[None], table["idx"].to_numpy()), *changes.get("more", ())),
    )


def test_the_summary_has_a_column_for_each_radius_and_the_table_a_block_for_each_attack():
    linf = Attacked("plain", "linf", False, (0.0, 0.03), np.ones((1, 60, 2), bool), np.arange(60))
    ours = attacked_line(more=(linf,))
    summary = summarise([ours, line("macer", images=60)], [0.25, 0.5])
    row = summary.iloc[0]
    assert row["accuracy_under@smooth@l2@0.25"] == row["certified_accuracy@0.25"]
    assert row["plain_accuracy_under@plain@linf@0.03"] == 1 and np.isnan(
        summary.iloc[1]["accuracy_under@smooth@l2@0.5"]
    )
    found = [block for block in blocks(summary) if "under attack" in block.over]
    assert [block.over for block in found] == [
        "accuracy (%) under attack smooth within ℓ2 radius",
        "accuracy (%) of the network without noise under attack plain within ℓ∞ radius",
    ]
    assert found[0].columns == ("method", "0.25", "0.5") and found[0].groups[0].rows[1].cells[1].text == "–"
    assert any("an upper bound of the true robust accuracy" in note for note in notes(summary))
    assert not any("under attack" in note for note in notes(summarise([line(images=60)], [0.25])))


def test_a_second_curve_bounds_the_certified_one_from_above_in_its_own_norm_alone():
    def ceilings(*lines):
        figure = draw_curves(lines, PlotSettings())
        drawn = [curve for axis in figure.axes for curve in axis.lines if curve.get_marker() == "v"]
        legend = [text.get_text() for text in figure.legends[0].texts]
        return drawn, legend

    ours = attacked_line()
    drawn, legend = ceilings(ours)
    assert len(drawn) == 1 and legend[-1] == "attacked from above (smooth)"
    x, y = drawn[0].get_data()
    radius = ours.seeds[0].table["radius"].to_numpy()[ours.seeds[0].table["correct"] == 1]
    for start, share in zip(x[:-1], y, strict=False):
        assert share >= 100 * (radius >= start).sum() / 60 - 1e-9
    assert drawn[0].get_drawstyle() == "steps-post" and x[-1] >= 0.5
    two = [ours, replace(ours, certificate="other")]
    assert len(ceilings(*two)[0]) == 1
    assert not ceilings(attacked_line(norm="linf"))[0] and not ceilings(line(images=60))[0]


def test_attack_tables_are_read_by_line_and_refused_if_made_otherwise(tmp_path):
    runs, paths = [], []
    for seed in (0, 1):
        spec = {"seed": seed, "attack": {"eps": [0.1]}}
        record = Provenance(format="attack", spec=spec, notes={"norm": "l2", "smoothed": True})
        path = tmp_path / f"{seed}.tsv"
        write_table(path, attack_rows([0, 1], [0, 1], {0.1: [0, seed]}), record)
        runs.append({"method": "m", "noise": "n", "seed": seed, "attack": "a", "spec": spec})
        paths.append(str(path))
    (found,) = read_attacked(runs, paths)["m", "n"]
    assert found.survived.shape == (2, 2, 2) and found.accuracy.tolist() == [1.0, 0.75] and found.idx.tolist() == [0, 1]
    runs[1]["spec"] = {"seed": 1, "attack": {"eps": [0.2]}}
    with pytest.raises(ArtefactError, match="was made from another spec"):
        read_attacked(runs, paths)


def test_an_attack_on_other_weights_or_images_than_were_certified_is_refused(tmp_path):
    spec = {"seed": 0}
    plain = line("m", images=2)
    entry = plain.seeds[0]
    made = replace(entry.provenance, parents={**entry.provenance.parents, "model": "a" * 64})
    ours = replace(plain, seeds=(replace(entry, provenance=made),))
    wanted = {"attacks": [{"method": "m", "noise": "gauss-0.25", "seed": 0, "attack": "a", "spec": spec}]}

    def with_attack(model, idx):
        record = Provenance(
            format="attack", spec=spec, parents={"model": model}, notes={"norm": "l2", "smoothed": True}
        )
        write_table(tmp_path / "a.tsv", attack_rows([0, 1], [0, 1], {0.1: [0, 1]}, idx), record)
        return _attacked([ours], wanted, [str(tmp_path / "a.tsv")])

    assert with_attack("a" * 64, [0, 1])[0].attacks[0].accuracy.tolist() == [1, 1]
    with pytest.raises(ArtefactError, match="certifies other weights than attack a was made on"):
        with_attack("b" * 64, [0, 1])
    with pytest.raises(DataError, match="attack a was made on other images"):
        with_attack("a" * 64, [0, 2])
    assert not _attacked([ours], wanted, [])[0].attacks


# -- configuration ------------------------------------------------------------------------------------------------------------


def raw(**changes):
    experiment = {
        "dataset": "digits",
        "model": "small",
        "images": "few",
        "noises": ["gauss"],
        "methods": ["gaussian"],
        "certificates": ["np"],
        "seeds": [0, 1],
        "radii": [0.25],
        "attacks": ["smooth"],
        **changes,
    }
    return {
        "datasets": {"digits": {"kind": "digits"}},
        "models": {"small": {"kind": "small_conv"}},
        "images": {"few": {"max": 5}},
        "noises": {"gauss": {"kind": "gaussian", "sigma": 0.25}, "none": {"kind": "none"}},
        "methods": {"gaussian": {"kind": "gaussian", "epochs": 1}},
        "samplers": {"s": {"kind": "fixed", "n0": 10, "n": 100}},
        "certificates": {"np": {"kind": "neyman_pearson", "sampler": "s"}},
        "attacks": {"smooth": {"kind": "smooth_pgd", "eps": [0.25]}, "plain": {"kind": "pgd", "eps": [0.1, 0.2]}},
        "experiments": {"e": experiment},
    }


def test_experiments_ask_for_attacks_by_name():
    study = load(raw(attacks=["smooth", "plain"]))
    runs = study.attack_runs("e")
    assert [(run.attack, run.seed) for run in runs] == [("smooth", 0), ("smooth", 1), ("plain", 0), ("plain", 1)]
    spec = study.attack_spec(runs[2])
    assert spec["attack"]["eps"] == [0.1, 0.2] and spec["attack"]["norm"] == "l2" and spec["images"]["max"] == 5
    assert [entry["spec"] for entry in study.table_spec("e")["attacks"]] == [study.attack_spec(r) for r in runs]
    assert load(raw(attacks=[])).table_spec("e")["attacks"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": ["rough"]}, "attacks: no entry 'rough' in attacks; known: smooth, plain"),
        ({"attacks": ["plain", "plain"]}, "attacks: 'plain' is listed twice"),
        ({"noises": ["none"]}, "attacks: smooth at none: noise of kind none smooths nothing"),
    ],
)
def test_attacks_that_cannot_be_made_are_refused_before_anything_runs(changes, message):
    with pytest.raises(ConfigError) as caught:
        load(raw(**changes))
    assert any(message in problem for problem in caught.value.problems)
