"""The command line: the pipeline's counts, its output, its exit statuses, and what it says of bad input."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from doors_examples import CODE, NOISE, trained, with_images
from PIL import Image
from stage_examples import MODEL, SEED, certificate_of

from certflow import SmoothedClassifier
from certflow.certify.field_table import read_field_table
from certflow.data.base import DataInfo
from certflow.doors.answers import resumable, write
from certflow.doors.bring import from_results
from certflow.doors.catalogue import Entry
from certflow.doors.cli import _run, main
from certflow.doors.commands import commands
from certflow.doors.commands.certify import _required, _summary, share_at
from certflow.doors.commands.web import _shown
from certflow.files.artefact import read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import build, save_model
from certflow.noise import Gaussian

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = trained(tmp_path_factory.mktemp("doors"))
    with_images(made.folder)
    return made


@pytest.fixture(scope="module")
def model(home) -> str:
    return str(home.given["model"])


def told(capsys, *arguments) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def table_of(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text), sep="\t")


@pytest.mark.parametrize("kind", ["neyman_pearson", "sequential", "dsrs"])
def test_the_table_is_the_pipelines_bit_for_bit(home, model, tmp_path, capsys, kind):
    sampler, certificate = certificate_of(kind)
    plan, counts = home.counted(sampler, tmp_path, shards=2)
    wanted = read_table(home.certify(certificate, plan, counts, tmp_path / "table.tsv"))[0]
    own, law = (json.dumps(spec.canonical() | {"revision": None}) for spec in (sampler, certificate))
    own, law = (json.dumps({k: v for k, v in json.loads(text).items() if k != "revision"}) for text in (own, law))
    command = ["certify", "--model", model, "--images", "test[3::2]", "--seed", SEED, "--sampler", own, "--quiet"]
    status, out, err = told(capsys, *command, "--certificate", law, "--out", tmp_path / "out.tsv")
    assert status == 0 and out == ""
    found = pd.read_csv(tmp_path / "out.tsv", sep="\t").iloc[: len(wanted)]
    for name in wanted.columns.drop(["seconds", "time"]):
        same = found[name].fillna("").tolist() == wanted[name].fillna("").tolist()
        assert same, name
    assert not list(tmp_path.glob("*.partial*"))


def test_the_table_is_the_fields_and_a_summary_follows(model, tmp_path, capsys):
    command = ["certify", "--model", model, "--images", "test::40", "--n", 500, "--quiet"]
    status, out, err = told(capsys, *command)
    table = table_of(out)
    assert status == 0 and list(table)[:6] == ["idx", "label", "predict", "radius", "correct", "time"]
    assert table["idx"].tolist() == list(range(0, 445, 40))
    assert "12 images, l2 radius, alpha 0.001: certified and right at 0.0:" in err
    (tmp_path / "table.tsv").write_text(out)
    assert len(read_field_table(tmp_path / "table.tsv")) == 12
    status, out, err = told(capsys, *command, "--json")
    found = json.loads(out)
    assert found["noise"]["sigma"] == 0.5 and found["claim"]["norm"] == "l2" and found["sampler"]["n"] == 500
    assert found["summary"]["images"] == 12 and len(found["table"]) == 12 and found["versions"]["torch"]
    assert [row["k"] for row in found["table"]] == table["k"].tolist()
    assert [row["radius"] for row in found["table"]] == table["radius"].tolist()


def test_it_is_what_python_gives(model, home, capsys):
    brought = from_results(model)
    smoothed = SmoothedClassifier(brought.model, brought.noise, device="cpu", inference=brought.inference)
    wanted = smoothed.certify(np.load(home.folder / "images.npy"), n=400, seed=3, quiet=True)
    images = home.folder / "images.npy"
    command = ["certify", "--model", model, "--images", images, "--n", 400, "--seed", 3, "--quiet"]
    status, out, _ = told(capsys, *command)
    found = table_of(out)
    assert status == 0 and "label" not in found and "correct" not in found
    assert found["k"].tolist() == wanted["k"].tolist() and found["radius"].tolist() == wanted["radius"].tolist()
    voted = smoothed.predict(np.load(images), n=300, seed=3, quiet=True)
    _, out, err = told(capsys, "predict", "--model", model, "--images", images, "--n", 300, "--seed", 3, "--quiet")
    assert table_of(out)["predict"].tolist() == voted["predict"].tolist() and "12 images, alpha 0.001" in err
    _, out, _ = told(capsys, "scores", "--model", model, "--images", images, "--n", 300, "--seed", 3, "--quiet")
    scores = table_of(out).filter(like="score_")
    assert (scores.max(axis=1) * 300).round().astype(int).tolist() == voted["k"].tolist()
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-12)


def test_an_estimate_says_what_it_is_and_what_other_ways_cost(model, tmp_path, capsys):
    out = tmp_path / "out.tsv"
    command = ["estimate", "--model", model, "--images", "test::5", "--n", 4000, "--radii", "0,0.25,1.5", "--quiet"]
    status, printed, err = told(capsys, *command, "--json", "--out", out)
    table, found = table_of(out.read_text()), json.loads(printed)
    assert status == 0 and list(table) == ["radius", "estimated_accuracy", "low", "high"] and not found["certified"]
    assert (table["low"] <= table["estimated_accuracy"].fillna(1)).all() and (table["low"] < table["high"]).all()
    assert np.isnan(table["estimated_accuracy"][2])  # three sigma: so few draws cannot tell
    assert found["table"][2]["estimated_accuracy"] is None
    assert "89 images, estimated, NOT certified: with N = 4,000" in err and "1.5: at most" in err
    price = found["summary"]["price"]
    assert 80 <= price["estimate"]["draws_per_image"] <= 200 and price["paper"]["draws_per_image"] == 100_100
    assert price["paper"]["seconds"] > price["decide"]["seconds"] > price["estimate"]["seconds"]
    assert not list(tmp_path.glob("*.partial*"))


def test_an_estimate_is_near_the_table(model, capsys):
    images = ["--model", model, "--images", "test::4", "--quiet"]
    _, out, _ = told(capsys, "estimate", *images, "--n", 500, "--radii", "0,0.25")
    found = table_of(out)
    _, out, _ = told(capsys, "certify", *images, "--n", 500)
    ours = table_of(out)
    share = [((ours["correct"] == 1) & (ours["radius"] >= radius)).mean() for radius in (0.0, 0.25)]
    assert found["estimated_accuracy"].tolist() == pytest.approx(share, abs=0.08)
    assert (found["low"] <= share).all() and (share <= found["high"]).all()


def test_images_come_from_arrays_folders_and_splits(home, model, capsys):
    found = {}
    ways = {
        "array": ["images.npy", "--labels", home.folder / "labels.npy"],
        "csv": ["images.npy", "--labels", home.folder / "labels.csv"],
        "flat": ["flat", "--labels", home.folder / "labels.csv"],
    }
    for name, (images, *more) in ways.items():
        command = ["certify", "--model", model, "--images", home.folder / images, *more, "--n", 100, "--quiet"]
        status, out, _ = told(capsys, *command)
        assert status == 0
        found[name] = table_of(out)[["idx", "label", "k", "radius", "correct"]]
    _, out, _ = told(capsys, "certify", "--model", model, "--images", "digits:test[0:12]", "--n", 100, "--quiet")
    for name in ways:
        pd.testing.assert_frame_equal(found[name], table_of(out)[["idx", "label", "k", "radius", "correct"]])
    _, out, _ = told(capsys, "certify", "--model", model, "--images", home.folder / "by_class", "--n", 100, "--quiet")
    labels = np.sort(np.load(home.folder / "labels.npy"))
    assert table_of(out)["label"].tolist() == labels.tolist()


def test_a_checkpoint_is_certified_like_the_file_it_came_from(home, model, capsys):
    images = ["--images", "digits:test::20", "--n", 200, "--noise", NOISE, "--quiet"]
    own = ["--model", home.folder / "w.pth", "--kind", "small_conv", "--set", 'inference={"fold": true}']
    _, ours, _ = told(capsys, "certify", "--model", model, *images)
    status, theirs, _ = told(capsys, "certify", *own, *images)
    assert status == 0 and table_of(ours)["k"].tolist() == table_of(theirs)["k"].tolist()


def test_a_checkpoint_is_of_a_network_for_the_images_that_are_given(home, tmp_path, capsys):
    wide = DataInfo(classes=10, shape=(3, 8, 8))
    torch.save(build(spec_class("model", "small_conv")(normalise="none"), wide)[1].state_dict(), tmp_path / "w.pth")
    np.save(tmp_path / "wide.npy", np.zeros((2, 3, 8, 8), np.uint8))
    own = ["--model", tmp_path / "w.pth", "--kind", "small_conv", "--set", "normalise=none", "--noise", NOISE]
    status, out, err = told(capsys, "certify", *own, "--images", tmp_path / "wide.npy", "--n", 20, "--quiet")
    assert status == 0 and len(table_of(out)) == 2, err


def test_the_doctor_warns_of_a_checkpoint_before_it_is_certified(home, capsys):
    own = ["--model", home.folder / "w.pth", "--kind", "small_conv", "--mean", "20", "--sd", "0.1"]
    images = ["--images", "digits:test::4", "--n", 20, "--noise", NOISE, "--quiet"]
    status, _, err = told(capsys, "certify", *own, *images)
    assert status == 0 and "warning: " in err and "right on" in err


def test_a_model_under_other_noise_is_certified_with_a_warning(model, capsys):
    images = ["--images", "test::100", "--n", 100, "--quiet"]
    status, _, err = told(capsys, "certify", "--model", model, *images, "--noise", "gaussian:0.25")
    assert status == 0 and "was trained under other noise (sigma 0.5 → 0.25)" in err


def test_shares_at_a_radius_are_those_of_reports():
    """0.1 * 3 is not the nearest number to 0.3."""
    table = pd.DataFrame({"predict": [1, -1, 2], "radius": [0.3, 0.0, 0.29]})
    assert share_at(table, 0.1 * 3) == 1 / 3 and share_at(table, 0.0) == 2 / 3
    assert share_at(table.assign(correct=[0, 0, 1]), 0.25) == 1 / 3


@pytest.mark.parametrize(
    ("noise", "more", "norm"),
    [
        ("uniform:0.5", [], "l1"),
        ("uniform:0.5", ["--norm", "linf"], "linf"),
        ("uniform:0.5", ["--certificate", '{"kind": "neyman_pearson", "norm": "linf"}'], "linf"),
        ("gaussian:0.5", [], "l2"),
    ],
)
def test_the_norm_is_that_of_python_where_nothing_states_it(model, capsys, noise, more, norm):
    images = ["--model", model, "--noise", noise, "--images", "digits:test::90", "--quiet", "--n", "100"]
    status, out, err = told(capsys, "certify", *images, *more, "--json")
    assert status == 0 and json.loads(out)["claim"]["norm"] == norm, err
    if not more:
        status, out, err = told(capsys, "estimate", *images, "--json")
        assert status == 0 and json.loads(out)["estimated"]["norm"] == norm, err


def test_a_norm_that_a_certificate_has_not_is_not_given_to_it(model, capsys):
    images = ["--model", model, "--noise", "uniform:0.5", "--images", "digits:test::90", "--quiet"]
    status, _, err = told(capsys, "certify", *images, "--sampler", "double", "--certificate", "dsrs")
    assert status == 1 and "norm: should be" not in err, err


def test_what_is_required_decides_the_exit_status(model, capsys):
    command = ["certify", "--model", model, "--images", "test::20", "--n", 300, "--quiet"]
    status, _, err = told(capsys, *command, "--require", "0.1@0.0", "--require", "0.05@0.25")
    assert status == 0 and "required" not in err
    status, _, err = told(capsys, *command, "--require", "0.1@0.0", "--require", "0.999@0.25")
    assert status == 3 and "required: 99.9% right at radius 0.25, found" in err and "without an interval" in err


def test_what_is_found_is_not_rounded_up_to_what_is_required(capsys):
    table = pd.DataFrame({"predict": [3] * 2000, "radius": [0.5] * 2000, "correct": [1] * 999 + [0] * 1001})
    assert _required(table, [(0.5, 0.25), (0.4996, 0.25)]) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("required: 50% right at radius 0.25, found 49.9% (")
    assert second.startswith("required: 49.96% right at radius 0.25, found 49.9% (")


def test_what_is_required_decides_though_nobody_reads_the_table_to_its_end(model, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    images = ["--images", "digits:test::50", "--n0", "20", "--n", "100", "--quiet"]
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert main(["certify", "--model", model, *images, "--require", "1@9"]) == 3
    assert "required: 100% right at radius 9" in capsys.readouterr().err


def test_one_image_is_not_several(model, capsys):
    command = ["--model", model, "--images", "test[7:8]", "--n", 20, "--quiet"]
    said = {}
    for name, more in (("certify", ["--require", "1@9"]), ("predict", []), ("scores", ["--n", 1])):
        _, _, said[name] = told(capsys, name, *command, *more)
    assert said["certify"].startswith("1 image, l2 radius") and "the plain share of 1 image, without" in said["certify"]
    assert said["predict"].startswith("1 image, alpha 0.001: ") and said["scores"].startswith("1 image, 1 vote each")


def test_nobody_abstains_where_labels_are_judged():
    table = pd.DataFrame({"predict": [-1, 3], "radius": [0.0, 0.5], "correct": [0, 1], "seconds": [1.0, 1.0]})
    assert _summary(table, [], judged=False)["abstained"] == 1
    assert "abstained" not in _summary(table, [], judged=True)


@pytest.mark.parametrize(
    ("out", "says"),
    [(None, "nothing is kept; with --out"), ("table.tsv", "the same command continues from what was saved")],
)
def test_whoever_interrupts_hears_what_is_kept(tmp_path, capsys, out, says):
    def counting(given):
        with resumable(given, SimpleNamespace(given=SimpleNamespace(describe=str)), {}):
            raise KeyboardInterrupt

    given = {"out": None if out is None else str(tmp_path / out), "quiet": True}
    assert _run(argparse.Namespace(run=counting, **given)) == 130
    assert capsys.readouterr().err.startswith(f"interrupted; {says}")


def test_what_keeps_no_counts_says_nothing_of_them(capsys):
    """As `certflow export` and `doctor`, whose --out, or lack of one, has nothing to do with it."""

    def reading(given):
        raise KeyboardInterrupt

    assert _run(argparse.Namespace(run=reading)) == 130 and capsys.readouterr().err == "interrupted\n"


def test_code_of_ones_own_is_run(home, capsys, monkeypatch):
    monkeypatch.chdir(home.folder)
    images = ["--images", "digits:test::50", "--n", 50, "--noise", NOISE, "--quiet"]
    for place in ("own_models:build", "own_models:module"):
        status, out, _ = told(capsys, "certify", "--python", place, *images)
        assert status == 0 and len(table_of(out)) == 9
    assert sys.modules.pop("own_models").calls == [1] and "" not in sys.path
    (home.folder / "global_models.py").write_text(f"{CODE}\ntorch.set_default_device('meta')\n")
    status, out, _ = told(capsys, "certify", "--python", "global_models:module", *images)
    assert status == 0 and len(table_of(out)) == 9 and str(torch.get_default_device()) == "cpu"


BAD = {
    "no model": (["--model", "none.pth", "--arch", "lenet"], [], "none.pth: is not there"),
    "no file": (["--model", "none.pth"], [], "none.pth: no such file"),
    "no weights": (["--model", "graph.onnx"], [], "graph.onnx: is an ONNX graph.*call `certflow certify` with --onnx"),
    "no architecture": (["--model", "w.pth"], [], "is not a model of the pipeline; state its architecture"),
    "an architecture too many": (["--model", "MODEL", "--arch", "lenet"], [], "--arch: is for weights made elsewhere"),
    "unknown architecture": (["--model", "w.pth", "--arch", "lenett"], [], "no architecture named 'lenett'"),
    "another architecture": (
        ["--model", "w.pth", "--arch", "lenet"],
        [],
        "lenet takes 1x28x28 images, the data are 1x8x8",
    ),
    "setting": (["--model", "w.pth", "--kind", "small_conv", "--set", "deep"], [], "--set deep: write KEY=VALUE"),
    "no such setting": (["--model", "w.pth", "--kind", "small_conv", "--set", "text=1"], [], "text: no such setting"),
    "no images": (["--model", "MODEL"], ["--images", "nowhere"], "nowhere: is not there; name a folder"),
    "a file of another kind": (
        ["--model", "MODEL"],
        ["--images", "few.csv"],
        "few.csv: is a file of another kind; name a folder",
    ),
    "no such data": (["--model", "MODEL"], ["--images", "mnits:test"], "no dataset of kind 'mnits'"),
    "empty slice": (["--model", "MODEL"], ["--images", "test[900:]"], "leaves none of the 445 images"),
    "other shape": (
        ["--model", "MODEL"],
        ["--images", "wide.npy"],
        "wide.npy: images are \\[3, 8, 8\\], .* takes \\[1, 8, 8\\]; --resize",
    ),
    "not images": (["--model", "MODEL"], ["--images", "text.npy"], "text.npy: cannot be read as an array"),
    "numbers beyond [0,1]": (
        ["--model", "MODEL"],
        ["--images", "large.npy"],
        "error: large.npy\\[0\\]: has values outside \\[0,1\\]",
    ),
    "whole numbers": (["--model", "MODEL"], ["--images", "whole.npy"], "must hold images \\[images, channels"),
    "labels of others": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "few.csv"],
        "image 1 has no label",
    ),
    "labels of files that an array has not": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "files.csv"],
        "files.csv: image .*images.npy.0. has no label, and no other has one.*'a.png'.*a column `idx`",
    ),
    "labels without names": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "bare.csv"],
        "has the columns",
    ),
    "a label too large": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "far.csv"],
        "label 17 is not one",
    ),
    "images that a checkpoint does not take": (
        ["--model", "w.pth", "--kind", "small_conv", "--set", "normalise=none"],
        ["--images", "tall.npy", "--labels", "tall_labels.npy"],
        "small_conv takes 4x4 to 16x16 images, the data are 1x8x24",
    ),
    "unknown noise": (["--model", "MODEL"], ["--noise", "gausian:0.5"], "no noise of kind 'gausian'"),
    "noise without sigma": (["--model", "MODEL"], ["--noise", "gaussian:x"], "'x' is not a number"),
    "noise that is no number": (
        ["--model", "MODEL"],
        ["--noise", "gaussian:nan"],
        "should be a finite number, got nan",
    ),
    "noise without end": (["--model", "MODEL"], ["--noise", "gaussian:1e308"], "sigma: should be at most 1,000,000"),
    "channels last": (
        ["--model", "MODEL"],
        ["--images", "last.npy"],
        "last.npy: images .*looks like .*width, channels",
    ),
    "four channels": (
        ["--python", "own_models:module", "--shape", "4,8,8"],
        ["--noise", NOISE, "--images", "by_class"],
        "by_class: the model takes images of 4 channels, which no image file holds; name a .npy file",
    ),
    "no noise": (["--python", "own_models:module"], ["--images", "digits:test::90"], "--noise: is not known"),
    "too few draws": (["--model", "MODEL"], ["--n", "5"], "n=5 draws can never certify at alpha=0.001"),
    "another norm": (["--model", "MODEL"], ["--norm", "l1"], "no l1 radius is known"),
    "a certificate that does not fit": (
        ["--model", "MODEL"],
        ["--certificate", "sequential"],
        "need another certificate",
    ),
    "required without labels": (["--model", "MODEL"], ["--images", "images.npy", "--require", "1@0"], "give --labels"),
    "no module": (["--python", "nomodule:build"], ["--noise", NOISE], "there is no module nomodule"),
    "no function": (["--python", "own_models:nothing"], ["--noise", NOISE], "has no function nothing"),
    "no place": (["--python", "own_models"], ["--noise", NOISE], "is not a place in Python code"),
    "a file for a module": (
        ["--python", "own_models.py:build"],
        ["--noise", NOISE],
        "names a file; start in its folder and write its module: own_models:build",
    ),
    "code that wants something": (
        ["--python", "own_models:called_with"],
        ["--noise", NOISE],
        "own_models:called_with: cannot be called without arguments .*'images'",
    ),
    "no model from code": (["--python", "own_models:number"], ["--noise", NOISE], "returned a int"),
    "broken code": (["--python", "own_models:broken"], ["--noise", NOISE], "own_models.py:19: ZeroDivisionError"),
    "denoiser": (["--model", "MODEL"], ["--denoiser", "drunet"], "--denoiser drunet: names no weights"),
    "denoiser as long JSON": (
        ["--model", "MODEL"],
        ["--denoiser", '{"kind": "drunet"' + " " * 5000 + "}"],
        "names no weights",
    ),
    "JSON": (["--model", "MODEL"], ["--sampler", "{n: 3}"], "is not JSON"),
    "a key twice": (
        ["--model", "MODEL"],
        ["--sampler", '{"kind": "fixed", "n": 100, "n": 200}'],
        "is not JSON .'n' is written twice",
    ),
    "twice": (
        ["--model", "MODEL"],
        ["--sampler", '{"kind": "fixed", "n": 300}', "--n", "400"],
        "n is 300 here and 400 elsewhere on the command line; leave out one",
    ),
    "averages of ours": (["--model", "MODEL"], ["--weights", "ema"], "--weights: is for weights made elsewhere"),
    "settings of ours": (["--model", "MODEL"], ["--set", "depth=3"], "--set: is for weights made elsewhere"),
    "settings of a name": (["--model", "w.pth", "--arch", "lenet"], ["--set", "depth=3"], "--set: is for --kind"),
    "no name of images": (["--model", "MODEL"], ["--images", ""], "no images are named"),
    "a home that is not there": (["--model", "MODEL"], ["--images", "~nobody-9/x.npy"], "cannot be looked for"),
    "too long a name": (["--model", "MODEL"], ["--images", "x" * 5000], "cannot be looked for"),
    "several arrays": (["--model", "MODEL"], ["--images", "several.npy"], "several.npy: cannot be read as an array"),
    "a pipe": (["--model", "MODEL"], ["--images", "pipe.npy"], "pipe.npy: cannot be read as an array"),
    "a pipe of weights": (
        ["--model", "pipe.npy", "--kind", "small_conv", "--noise", NOISE],
        [],
        "pipe.npy: is not a regular file",
    ),
    "a resized array": (["--model", "MODEL"], ["--images", "images.npy", "--resize", "exact"], "--resize is for image"),
    "a converted array": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--colour", "convert"],
        "--colour is for image",
    ),
    "a root of an array": (["--model", "MODEL"], ["--images", "images.npy", "--root", "."], "--root is for a data set"),
    "a root of a folder": (["--model", "MODEL"], ["--images", "by_class", "--root", "."], "--root is for a data set"),
    "a resized split": (["--model", "MODEL"], ["--resize", "exact"], "digits:test: --resize is for image files"),
    "numbers too wide": (["--model", "MODEL"], ["--images", "long.npy"], "must hold images"),
    "labels too large": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "huge.csv"],
        "is not a whole number",
    ),
    "labels too long": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "wide.csv"],
        "line 2: cannot be read",
    ),
    "ways that exclude each other": (
        ["--model", "MODEL", "--precision", "float16"],
        ["--native"],
        "--precision --native: native: is for float32 and bfloat16 without compile",
    ),
    "no device": (["--model", "MODEL"], ["--device", "gpu"], "device: 'gpu' is not a device"),
    "no such device": (["--model", "MODEL"], ["--device", "cuda:99"], "device: cuda:99 is not there"),
    "a batch too large": (["--model", "MODEL"], ["--batch", "100000000000"], "batch size must be"),
    "no name of the output": (["--model", "MODEL"], ["--out", ""], "no file can be put"),
    "standard output by a sign": (["--model", "MODEL"], ["--out", "-"], "leave it out, or name a file"),
    "a folder for the output": (["--model", "MODEL"], ["--out", "by_class"], "no file can be put"),
    "the images as the output": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--out", "images.npy"],
        "would be lost",
    ),
    "the model as the output": (["--model", "MODEL"], ["--out", "MODEL"], "model.safetensors: holds something other"),
    "labels as the output": (
        ["--model", "MODEL"],
        ["--images", "images.npy", "--labels", "labels.csv", "--out", "labels.csv"],
        "labels.csv: holds something other than a table, which would be lost",
    ),
    "deep JSON": (
        ["--model", "MODEL"],
        ["--sampler", '{"a":' * 20_000],
        r'\{"a":.{75}: is not JSON .maximum recursion',
    ),
    "a device for the output": (["--model", "MODEL"], ["--out", "/proc/out.tsv"], "no file can be put"),
}


@pytest.fixture(scope="module")
def spoiled(home):
    """Files that cannot be used."""
    images = np.load(home.folder / "images.npy")
    np.save(home.folder / "tall.npy", np.zeros((64, 1, 8, 24), np.uint8))
    np.save(home.folder / "tall_labels.npy", np.zeros(64, np.int64))
    np.save(home.folder / "wide.npy", np.repeat(images, 3, axis=1))
    np.save(home.folder / "last.npy", np.repeat(images, 3, axis=1).transpose(0, 2, 3, 1))
    np.save(home.folder / "large.npy", images.astype(np.float32))
    np.save(home.folder / "whole.npy", images.astype(np.int64))
    np.save(home.folder / "long.npy", images.astype(np.longdouble))
    with open(home.folder / "several.npy", "wb") as file:
        np.savez(file, images=images)
    os.mkfifo(home.folder / "pipe.npy")
    (home.folder / "huge.csv").write_text("idx,label\n" + "\n".join(f"{i},{'9' * 5000}" for i in range(12)))
    (home.folder / "wide.csv").write_text(f"idx,label\n0,{'9' * 200_000}\n")
    (home.folder / "text.npy").write_text("hello")
    (home.folder / "few.csv").write_text("idx,label\n0,3\n")
    (home.folder / "files.csv").write_text("file,label\na.png,3\n")
    (home.folder / "graph.onnx").write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x052.1.0")
    (home.folder / "bare.csv").write_text("0,3\n1,4\n")
    (home.folder / "far.csv").write_text("idx,label\n" + "\n".join(f"{i},17" for i in range(12)))
    return home.folder


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_with_its_remedy(spoiled, model, capsys, monkeypatch, name):
    own, more, message = BAD[name]
    monkeypatch.chdir(spoiled)
    own, more = ([model if word == "MODEL" else word for word in words] for words in (own, more))
    images = [] if "--images" in more else ["--images", "digits:test::90"]
    known = ["--noise", NOISE] if "w.pth" in own or "none.pth" in own else []
    status, out, err = told(capsys, "certify", *own, *known, *images, *more, "--quiet")
    sys.modules.pop("own_models", None)
    assert status == 1 and out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: "), err
    assert re.search(message, err), err


@pytest.mark.parametrize(
    "arguments",
    [
        ["certify"],
        ["certify", "--model", "a", "--onnx", "b", "--images", "c"],
        ["certify", "--model", "a", "--images", "c", "--require", "50%@0.25"],
        ["certify", "--model", "a", "--images", "c", "--shape", "3x32x32"],
        ["certify", "--model", "a", "--images", "c", "--shape", "3,-32,32"],
        ["certify", "--model", "a", "--images", "c", "--shape", "3,0,32"],
        ["certify", "--model", "a", "--images", "c", "--n", "many"],
        ["certify", "--model", "a", "--images", "c", "--classes", "0"],
        ["certify", "--model", "a", "--images", "c", "--classes", "9999999990"],
        ["web", "--port", "99999"],
        ["web", "--port", "-1"],
        ["web", "--queue", "0"],
        ["web", "--allow-host", "lab:8000"],
        ["web", "--allow-host", "http://lab"],
        ["web", "--allow-host", "fd00::7"],
        ["nothing"],
    ],
)
def test_what_is_no_command_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "shown"), [("::", "localhost"), ("0.0.0.0", "localhost"), ("fd00::7", "[fd00::7]"), ("lab", "lab")]
)
def test_the_address_that_is_printed_is_one(host, shown):
    assert _shown(host) == shown


def test_every_command_says_what_it_is(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for name, module in commands().items():
        assert name in out and module.HELP and module.__doc__
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0 and "usage: certflow " + name in capsys.readouterr().out


def test_the_commands_load_nothing_heavy_before_they_run():
    code = "import sys; from certflow.doors.commands import commands; commands(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.stdout == "False\n", done.stderr


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1", **more}


SLOW = """
import sys, time
from certflow.sampling import engine
engine.CHUNK_ROWS, engine.CHUNK_SECONDS = 256, 0.0
from certflow.sampling import resume
from functools import partial
load = resume.Journal.save
def save(self, *state):
    self.seconds = 0.0
    load(self, *state)
    time.sleep(0.02)
resume.Journal.save = save
from certflow.doors.cli import _run, main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_goes_on_with_the_same_counts(model, tmp_path, capsys):
    out = tmp_path / "out.tsv"
    command = ["certify", "--model", model, "--images", "test::60", "--n", "3000", "--quiet", "--out", str(out)]
    partial = tmp_path / "out.tsv.partial"
    process = subprocess.Popen([sys.executable, "-c", SLOW, *command], env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.exists() and not out.exists()
    status, _, err = told(capsys, *command)
    assert status == 0 and "out.tsv.partial: resumed from draw" in err
    assert "out.tsv.selection.partial: resumed from draw 800" in err
    found = pd.read_csv(out, sep="\t")
    _, text, _ = told(capsys, *command[:-2])
    once = table_of(text)
    assert found["k"].tolist() == once["k"].tolist() and found["k0"].tolist() == once["k0"].tolist()
    assert not partial.exists()


def test_partial_counts_of_another_job_are_not_used(model, tmp_path, capsys):
    """Seed, noise and images are part of what partial counts belong to."""
    from certflow.doors import answers

    out, seen = tmp_path / "out.tsv", []
    command = ["certify", "--model", model, "--images", "test::90", "--n", "100", "--quiet", "--out", str(out)]
    digest = answers.digest

    def noted(value):
        seen.append(digest(value))
        return seen[-1]

    answers.digest = noted
    try:
        for more in ([], ["--seed", "1"], ["--noise", "gaussian:0.25"], ["--images", "test::89"], ["--n", "101"]):
            assert told(capsys, *command, *more)[0] == 0
    finally:
        answers.digest = digest
    counts = seen[1::2]
    assert len(set(counts)) == 5
    assert told(capsys, *command)[0] == 0


def test_models_are_listed(home, tmp_path, capsys):
    place = tmp_path / "results" / "train" / "digits" / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(home.given["model"].read_bytes())
    (place.parent.parent / "other").mkdir()
    (place.parent.parent / "other" / "model.safetensors").write_bytes(b"not a model")
    made = from_results(place).made
    for number, spec in enumerate(({}, {**made, "noise": {"kind": "gaussian", "sigma": "0.5"}})):  # of other versions
        old = place.parent.parent / f"old-{number}" / "model.safetensors"
        old.parent.mkdir()
        save_model(old, torch.nn.Linear(1, 1), Provenance(format="model", spec=spec))
    status, out, err = told(capsys, "models", "--results", tmp_path / "results")
    assert status == 0 and out.splitlines()[1].startswith(f"{place}\tdigits\tsmall_conv\tgaussian\tgaussian:0.5\t")
    assert len(out.splitlines()) == 2 and "cifar_resnet110" in err
    status, out, _ = told(capsys, "models", "--results", tmp_path / "results", "--json")
    assert json.loads(out)[0]["made"]["dataset"]["kind"] == "digits"
    status, out, err = told(capsys, "models", "--results", tmp_path / "none")
    assert status == 0 and "no model below" in err


def test_what_a_model_file_says_is_shown_and_not_obeyed(model, capsys, monkeypatch):
    forged = "\x1b[2Jsafe\nsure"
    monkeypatch.setattr("certflow.doors.asking._warnings", lambda *_: [forged])
    _, _, err = told(capsys, "scores", "--model", model, "--images", "test[0:1]", "--n", 1, "--quiet")
    assert err.splitlines()[0] == r"warning: \x1b[2Jsafe\nsure"
    names = dict.fromkeys(("dataset", "model", "method", "noise", "seed"), forged)
    entry = Entry(Path("a/b"), "", {}, names, 0, datetime.now(UTC))
    monkeypatch.setattr("certflow.doors.catalogue.models", lambda results: iter([entry]))
    _, out, _ = told(capsys, "models", "--results", "nowhere")
    assert out.splitlines()[1].split("\t")[:3] == ["a/b", r"\x1b[2Jsafe\nsure", r"\x1b[2Jsafe\nsure"]


def test_a_bundle_is_a_model_again(model, tmp_path, capsys):
    status, out, _ = told(capsys, "export", "--model", model, "--out", tmp_path / "bundle")
    assert status == 0 and len(out.splitlines()) == 3
    card = json.loads((tmp_path / "bundle" / "card.json").read_text())
    assert card["smoothing"]["sigma"] == 0.5 and card["classes"] == 10 and card["input"]["shape"] == [1, 8, 8]
    again = from_results(tmp_path / "bundle" / "model.safetensors")
    assert again.digest == from_results(model).digest == card["weights_sha256"]
    assert again.noise == Gaussian(sigma=0.5)
    readme = (tmp_path / "bundle" / "README.md").read_text()
    assert "from_results" in readme and "says otherwise (`inference`, which the file does not hold)" in readme
    assert told(capsys, "export", "--model", model, "--out", tmp_path / "bundle")[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    status, _, err = told(capsys, "export", "--model", model, "--out", tmp_path / "mine")
    assert status == 1 and "holds other files (README.md)" in err
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    status, _, err = told(capsys, "export", "--model", model, "--out", tmp_path / "bundle")
    assert status == 1 and "holds other files (notes.txt)" in err


def test_the_command_in_a_bundle_runs_whatever_the_data(tmp_path, capsys, monkeypatch):
    """Folders of images are known by their settings, which the model's record has and their kind alone has not."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("L", (8, 8), len(name)).save(tmp_path / "pictures" / name / "1.png")
    dataset = spec_class("dataset", "image_folder")(root=str(tmp_path / "pictures"), classes=2, shape=[1, 8, 8])
    method, noise = spec_class("method", "gaussian")(), Gaussian(sigma=0.25)
    made = {"dataset": dataset, "method": method, "noise": noise}
    spec = {name: one.canonical() for name, one in made.items()} | {"model": MODEL.architecture(), "seed": 0}
    record = Provenance(format="model", spec=spec, parents={"data": "0" * 64})
    save_model(tmp_path / "model.safetensors", build(MODEL, dataset.info()), record)
    assert told(capsys, "export", "--model", tmp_path / "model.safetensors", "--out", tmp_path / "bundle")[0] == 0
    monkeypatch.chdir(tmp_path / "bundle")
    (command,) = re.findall(r"^    certflow (.*)$", Path("README.md").read_text(), re.MULTILINE)
    status, _, err = told(capsys, *command.split(), "--root", tmp_path / "pictures", "--n", 100, "--quiet")
    assert status == 0 and len(read_field_table("table.tsv")) == 1, err


def test_nobody_is_told_to_delete_their_own_weights(home, model, capsys):
    weights = home.folder / "w.pth"
    for command in (
        ["export", "--model", weights, "--out", home.folder / "bundle"],
        ["certify", "--model", model, "--images", home.folder / "images.npy", "--denoiser", weights],
    ):
        status, _, err = told(capsys, *command)
        assert status == 1 and "w.pth: is not a model file of the pipeline" in err and "delete" not in err
    assert not (home.folder / "bundle").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="takes a device that is always full")
@pytest.mark.parametrize(
    "output, says", [(">&-", "is closed, and the answer would be lost"), (">/dev/full", "No space")]
)
def test_an_answer_that_nobody_can_receive_is_no_success(tmp_path, output, says):
    code = (
        f"import sys; from certflow.doors.cli import main; sys.exit(main(['models', '--results', {str(tmp_path)!r}]))"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {output}', sys.executable, code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and says in done.stderr and "Exception" not in done.stderr


def test_files_are_listed_whose_names_the_terminal_cannot_show(home, tmp_path):
    folder = tmp_path / "train/digits/small/größe/gauss/seed0"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(Path(home.given["model"]).read_bytes())
    command = [sys.executable, "-m", "certflow.doors.cli", "models", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(PYTHONIOENCODING="ascii"), capture_output=True, text=True)
    assert done.returncode == 0 and r"/gr\xf6\xdfe/" in done.stdout


def test_what_belongs_to_standard_error_is_no_part_of_an_answer_where_that_is_closed(tmp_path):
    code = (
        "import os, sys; from certflow.doors.cli import main; "
        f"status = main(['models', '--results', {str(tmp_path)!r}]); "
        "print(os.open(sys.executable, os.O_RDONLY)); sys.exit(status)"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&- <&-', sys.executable, code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    heading, number = done.stdout.splitlines()
    assert done.returncode == 0 and heading.startswith("path\tdataset\t")
    assert int(number) > 2, "a file that is opened later is not what libraries write their warnings to"


@pytest.mark.parametrize("command", ["models", "web"])
def test_results_are_a_folder(home, capsys, command):
    status, out, err = told(capsys, command, "--results", home.folder / "images.npy")
    assert (status, out) == (1, "") and "images.npy: is not a folder" in err


def test_a_server_does_not_start_for_a_device_that_is_not_there(tmp_path, capsys):
    status, _, err = told(capsys, "web", "--results", tmp_path, "--device", "gpu")
    assert status == 1 and "device: 'gpu' is not a device" in err and not list(tmp_path.iterdir())


def test_a_server_answers_beside_idle_connections_and_ends_in_good_order(tmp_path):
    """As the first process of a container it would otherwise not end at all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "certflow.doors.cli", "web", "--results", str(tmp_path), "--port", port]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            while "token" not in (line := server.stdout.readline()):
                assert line, "it ended before it served"
            with ExitStack() as held:
                for _ in range(150):
                    held.enter_context(socket.create_connection(("127.0.0.1", int(port))))
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    assert page.status == 200
        finally:
            server.terminate()
    assert server.returncode == 0


def test_a_document_has_null_for_what_json_has_no_number_for(capsys):
    options = argparse.Namespace(out=None, json=True)
    table = pd.DataFrame({"idx": [0, 1], "radius": [float("inf"), 0.5], "label": ["a", None]})
    write(options, table, {"seed": 0}, {"estimated": [float("nan"), {"low": 1.5}]}, "done")
    found = json.loads(capsys.readouterr().out, parse_constant=lambda text: pytest.fail(text))
    rows = [{"idx": 0, "radius": None, "label": "a"}, {"idx": 1, "radius": 0.5, "label": None}]
    assert found == {"seed": 0, "summary": {"estimated": [None, {"low": 1.5}]}, "table": rows}
