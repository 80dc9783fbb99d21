"""The denoiser of one model before another model: on the page, in the lines that repeat it, and on the command line."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from test_denoising_stage import Workshop, configured
from web_examples import Web

from certflow.certify.memory import certify
from certflow.config import load
from certflow.doors.bring import behind_denoiser_of, from_results
from certflow.doors.cli import main
from certflow.kinds.registry import spec_class


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A classifier trained on clean images, and one that was given behind a denoiser."""
    folder = tmp_path_factory.mktemp("denoiser")
    shop = Workshop(load(configured()), folder)
    for method, noise in (("clean", "clean"), ("mse", "gauss-0.25")):
        place = folder / f"results/train/digits/small/{method}/{noise}/seed0/model.safetensors"
        place.parent.mkdir(parents=True)
        shutil.copy(shop.model(method, noise), place)
    (folder / "results/data").mkdir()
    shutil.copy(folder / "digits.json", folder / "results/data/digits.json")
    return folder / "results"


@pytest.fixture(scope="module")
def web(results):
    web = Web(results)
    yield web
    web.close()


@pytest.fixture(scope="module")
def cards(web):
    """Method → card."""
    return {card.facts["method"]: card for card in web.site.cards.all()}


@pytest.fixture(scope="module")
def pair(cards):
    return f"{cards['clean'].id}-{cards['mse'].id}"


def text(answer) -> str:
    return answer.get_data(as_text=True)


def test_a_form_puts_it_there_and_takes_it_away(web, cards, pair):
    clean, denoised = cards["clean"].id, cards["mse"].id
    assert f'<option value="{denoised}">' in text(web.get(f"/models/{clean}"))
    assert web.get(f"/models/{clean}/behind?denoiser={denoised}").location.endswith(f"/models/{pair}")
    body = text(web.get(f"/models/{pair}"))
    assert "Behind the denoiser of digits · mse, gaussian, σ = 0.25" in body and "no noise" not in body
    assert web.get(f"/models/{pair}/behind").location.endswith(f"/models/{clean}")
    assert 'id="denoiser"' not in text(web.get(f"/models/{denoised}"))


@pytest.mark.parametrize("first, second", [("mse", "clean"), ("clean", "clean"), ("mse", "mse")])
def test_what_does_not_fit_is_not_there(web, cards, first, second):
    assert web.get(f"/models/{cards[first].id}-{cards[second].id}").status_code == 404


def test_two_files_are_not_downloaded_as_one(web, pair):
    assert web.get(f"/models/{pair}/weights").status_code == web.get(f"/models/{pair}/bundle").status_code == 404


def test_its_certificate_is_that_of_the_denoised_model_of_which_these_are_the_parts(web, results, cards, pair):
    form = {"index": "3", "n": "1000", "seed": "5", "way": "neyman_pearson.l2"}
    answer = web.post(f"/models/{pair}/certify", form)
    job = web.ended(answer.location.rsplit("/", 1)[1])
    assert job.status.state == "done", job.status
    noise = spec_class("noise", "gaussian")(sigma=0.25)
    law = spec_class("sampler", "fixed")(n0=100, n=1000), spec_class("certificate", "neyman_pearson")(sampler="fixed")
    whole = from_results(cards["mse"].path)
    image = web.site.splits.test(whole.dataset).read(np.array([3]))
    expected = certify(whole.model, image, noise, *law, seed=5, index=[3]).table.iloc[0]
    moment = job.moments[-1]
    assert (moment["predict"], moment["best"]) == (expected["predict"], pytest.approx(expected["radius"]))
    assert job.copies()["denoised"].shape == job.copies()["noisy"].shape
    page = text(web.get(f"/jobs/{job.id}"))
    assert "behind_denoiser_of(brought, from_results(" in page and "--denoiser" in page


def test_the_command_line_takes_the_same_two_files(results, cards, capsys):
    """Its noise is the denoiser's, without being told."""
    paths = [str(cards[name].path) for name in ("clean", "mse")]
    options = ["--images", "test[0:4]", "--n", "200", "--seed", "5", "--out"]
    assert main(["certify", "--model", paths[0], "--denoiser", paths[1], *options, str(results / "pair.tsv")]) == 0
    assert main(["certify", "--model", paths[1], *options, str(results / "whole.tsv")]) == 0
    assert "warning" not in capsys.readouterr().err
    tables = [pd.read_csv(io.StringIO((results / f"{name}.tsv").read_text()), sep="\t") for name in ("pair", "whole")]
    assert (
        tables[0]
        .drop(columns=["time", "seconds"], errors="ignore")
        .equals(tables[1].drop(columns=["time", "seconds"], errors="ignore"))
    )


@pytest.mark.parametrize(
    "first, second, why",
    [
        ("clean", "clean", "has no denoiser"),
        ("mse", "mse", "has a denoiser of its own"),
    ],
)
def test_pairs_that_cannot_be_are_refused(cards, first, second, why):
    with pytest.raises(ValueError, match=why):
        behind_denoiser_of(from_results(cards[first].path), from_results(cards[second].path))


def test_shapes_must_agree(cards):
    from dataclasses import replace

    other = from_results(cards["mse"].path)
    with pytest.raises(ValueError, match="different shapes"):
        behind_denoiser_of(replace(from_results(cards["clean"].path), shape=(1, 9, 9)), other)
    with pytest.raises(ValueError, match="torch module"):
        behind_denoiser_of(replace(other, model=torch.relu), other)
