"""The certifying stage, for every certificate kind: what it hands to the certificate, and which files it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from stage_examples import BY_CHANCE, CERTIFICATES, DIGITS, MODEL, SEED, Home, certificate_of, sampler_of

from certflow.certify import certificate_table
from certflow.certify.base import Drawn
from certflow.errors import ArtefactError, DataError
from certflow.files.artefact import read_arrays, read_table, write_arrays, write_table
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build, save_model
from certflow.models.header import read_header
from certflow.noise import Gaussian, GeneralizedGaussian
from certflow.noise.streams import Stream
from certflow.noise.variates import image_uniforms

PIXELS = 64
EXPONENT = GeneralizedGaussian(k=26, sigma=0.5)
EXTRAS = {"sequential": ("drawn", "decided"), "dsrs": ("counts_q",)}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("certify")).prepared()


@pytest.fixture(scope="module")
def made(home, tmp_path_factory):
    """kind → (certificate, plan, counts), made once."""
    found = {}

    def make(kind: str):
        if kind not in found:
            sampler, certificate = certificate_of(kind)
            found[kind] = certificate, *home.counted(sampler, tmp_path_factory.mktemp(kind), shards=2)
        return found[kind]

    return make


def by_hand(certificate, plan, counts, noise, **options) -> pd.DataFrame:
    """The table of the stage, with seed, dimension and slack stated here."""
    rows, arrays = read_table(plan)[0], read_arrays(counts)[0]
    extra = {name: arrays[name] for name in EXTRAS.get(certificate.kind, ())}
    rows = rows.assign(n=arrays.get("drawn", rows["n"]))
    given = {"seed": SEED, "extra": extra, "dim": PIXELS, **options}
    return certificate_table(Drawn(rows, arrays["counts"], noise, **given), certificate, arrays["seconds"])


def same(table: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal but for what a text file makes of an empty text."""
    reason = [text if isinstance(text, str) else "" for text in table["reason"]]
    pd.testing.assert_frame_equal(table.assign(reason=reason), wanted, check_dtype=False, check_exact=True)


@pytest.mark.parametrize("kind", BY_CHANCE)
def test_the_stage_gives_a_certificate_its_own_seed_and_dimension(home, made, tmp_path, kind):
    certificate, plan, counts = made(kind)
    table, record = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"), format="certificate")
    same(table, by_hand(certificate, plan, counts, home.noise))
    assert (table["predict"] >= 0).any() and record.notes["claim"]["domain"] == "real"
    assert record.parents["counts"] == read_arrays(counts)[1].digest
    assert record.parents["plan"] == read_table(plan)[1].digest


def test_coins_are_those_of_the_run_s_seed(home, made, tmp_path):
    certificate, plan, counts = made("neyman_pearson")
    table, _ = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"))
    coins = image_uniforms(table["idx"].to_numpy(), seed=SEED, stream=Stream.BOUND)
    np.testing.assert_array_equal(table[["u", "u_other"]], np.maximum(coins[:, :2], 0.02))


@pytest.mark.parametrize("kind", ["neyman_pearson", "dsrs", "inscribed"])
def test_radii_that_depend_on_the_dimension_get_the_images_own(home, tmp_path, kind):
    """Under generalised Gaussian noise a dimension that is off by one gives other radii."""
    place = replace(home, folder=tmp_path, noise=EXPONENT).prepared()
    sampler, certificate = certificate_of(kind)
    plan, counts = place.counted(sampler, tmp_path)
    table, _ = read_table(place.certify(certificate, plan, counts, tmp_path / "t.tsv"))
    same(table, by_hand(certificate, plan, counts, EXPONENT))
    other = by_hand(certificate, plan, counts, EXPONENT, dim=PIXELS + 1)
    some = table["radius"] > 0
    assert some.any() and (table["radius"] != other["radius"])[some].all()


@pytest.mark.parametrize("kind", BY_CHANCE)
@pytest.mark.parametrize("altered", ["both", "counts", "plan"])
def test_counts_under_another_sigma_are_never_certified(home, made, tmp_path, kind, altered):
    """Counts at sigma 0.5 certified as sigma 1 would double every radius."""
    certificate, plan, counts = made(kind)
    asked = Gaussian(sigma=1.0)
    if altered == "plan":  # then the counts alone are of the noise that is asked for
        arrays, record = read_arrays(counts)
        counts = tmp_path / "counts.npz"
        write_arrays(counts, arrays, replace(record, spec={**record.spec, "noise": asked.canonical()}))
    if altered == "counts":
        rows, record = read_table(plan)
        renamed = replace(record, spec={**record.spec, "noise": asked.canonical()})
        plan = tmp_path / "plan.tsv"
        write_table(plan, rows, renamed)
        arrays, counted = read_arrays(counts)
        counts = tmp_path / "counts.npz"
        write_arrays(counts, arrays, replace(counted, parents={**counted.parents, "plan": renamed.digest}))
    with pytest.raises(ArtefactError):
        home.certify(certificate, plan, counts, tmp_path / "t.tsv", noise=asked)
    assert not (tmp_path / "t.tsv").exists()


def test_every_certificate_kind_refuses_a_sampler_of_the_other_way_of_stopping(home, made, tmp_path):
    """Counts that stop when they look good certify nothing by a bound for a fixed number of draws."""
    one_way = [kind for kind in BY_CHANCE if made(kind)[0].fixed != made(kind)[0].sequential]
    assert {"neyman_pearson", "sequential", "dsrs"} <= set(one_way)
    for kind in one_way:
        certificate = made(kind)[0]
        other = "fixed" if certificate.sequential else "decide"
        folder = tmp_path / kind
        folder.mkdir()
        plan, counts = home.counted(sampler_of(other), folder)
        with pytest.raises(ArtefactError, match="need another certificate"):
            home.certify(certificate, plan, counts, folder / "t.tsv")


def test_seconds_are_those_of_both_stages(home, tmp_path):
    sampler = sampler_of("fixed")
    first = home.presample(sampler, tmp_path / "presample.npz")
    arrays, record = read_arrays(first)
    arrays["seconds"] = 1000.0 + np.arange(9)
    write_arrays(first, arrays, record)
    plan = home.plan(sampler, first, tmp_path / "plan.tsv")
    counts = home.sample(plan, tmp_path / "counts.npz", shards=2)
    parts = [read_arrays(tmp_path / f"counts.{number}-of-2.npz")[0]["seconds"] for number in (1, 2)]
    together = np.concatenate(parts) + arrays["seconds"]
    np.testing.assert_array_equal(read_arrays(counts)[0]["seconds"], together)
    certificate = certificate_of("neyman_pearson")[1]
    table, _ = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"))
    np.testing.assert_array_equal(table["seconds"], together)


@pytest.mark.parametrize("kind", [kind for kind in BY_CHANCE if kind != "dsrs"])
def test_exact_arithmetic_gives_the_distance_of_this_dimension_away(home, tmp_path, monkeypatch, kind):
    """With a distance that shows: what the certificate gets is that of the images' own number of pixels."""
    sampler, certificate = certificate_of(kind)
    plan, counts = home.counted(sampler.model_copy(update={"arithmetic": "exact"}), tmp_path)
    if kind == "sequential":
        table, record = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"))
        assert record.notes["noise_distance"] == home.noise.distance(PIXELS)
        return
    monkeypatch.setattr(Gaussian, "distance", lambda noise, dim: 0.001 * dim)
    table, record = read_table(home.certify(certificate, plan, counts, tmp_path / "t.tsv"))
    assert record.notes["noise_distance"] == 0.064 and record.notes["claim"]["domain"] == "8-bit grid"
    wanted = by_hand(certificate, plan, counts, home.noise, slack=0.064)
    same(table, wanted)
    assert (table["p_lower"] < by_hand(certificate, plan, counts, home.noise)["p_lower"]).any()


def test_a_model_that_was_trained_on_other_images_is_refused(home, tmp_path):
    place = replace(home, folder=tmp_path).prepared()
    model = place.given["model"]
    record = read_header(model)[0]
    save_model(model, build(MODEL, DIGITS.info()), replace(record, parents={"data": "0" * 64}))
    with pytest.raises(DataError, match="not what .* was trained on"):
        place.presample(sampler_of("fixed"), tmp_path / "a.npz")


def test_a_plan_for_other_images_or_another_model_is_refused(home, tmp_path):
    sampler = sampler_of("fixed")
    plan = home.plan(sampler, home.presample(sampler, tmp_path / "a.npz"), tmp_path / "plan.tsv")
    rows, record = read_table(plan)
    for parent in ("data", "model"):
        altered = tmp_path / f"{parent}.tsv"
        write_table(altered, rows, replace(record, parents={**record.parents, parent: "0" * 64}))
        with pytest.raises(ArtefactError, match=rf"{parent}\.tsv: was made otherwise .*{parent}"):
            home.sample(altered, tmp_path / "counts.npz")


def test_certificate_kinds_have_their_own_instances():
    assert set(CERTIFICATES) == set(kinds("certificate"))
    for kind in CERTIFICATES:
        sampler, certificate = certificate_of(kind)
        law = "gaussian" if kind in BY_CHANCE else "dssn"
        assert certificate.problems(spec_class("noise", law)(sigma=0.5), sampler) == []
