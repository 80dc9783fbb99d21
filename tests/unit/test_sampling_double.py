"""Sampler `double`: percentiles and pooling from stage 1, two measurements in stage 2, and their counts end to end."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from certflow.data.store import content_digest, prepare
from certflow.files.artefact import read_arrays, read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import build, save_model
from certflow.noise import Gaussian, GeneralizedGaussian, Stream
from certflow.noise.truncated import Truncated
from certflow.sampling.base import PlannedImages
from certflow.sampling.engine import count_classes
from certflow.sampling.kinds.double import Double, ScaledLaw, TruncatedLaw
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import write_plan
from certflow.sampling.planning.percentiles import percentile
from certflow.sampling.stage import presample_counts, sample_counts
from certflow.stats.clopper_pearson import clopper_pearson_lower

NOISE = GeneralizedGaussian(k=28, sigma=0.5)
TOPS = np.array([1000, 999, 900, 600, 400])


def stage_1(tops=TOPS, n0=1000) -> np.ndarray:
    """Counts of three classes of which class 1 has the most."""
    rest = n0 - tops
    return np.stack([rest // 2, tops, rest - rest // 2], axis=1)


def planned(**fields) -> dict[str, np.ndarray]:
    return Double(**fields).plan(stage_1(), NOISE)


def test_rules_by_hand():
    p = np.array([0.0, 0.3, 0.5, 0.845, 0.97, 0.9999, 1.0])
    x = [0.5, 0.5, 0.2 + 0.08 * math.log(2), 0.34914641, 0.48052463, 0.93682723, 0.98]
    assert percentile("x", p) == pytest.approx(x, abs=1e-8)
    assert percentile("x2", p) == pytest.approx([0.4, 0.4, 0.4, 0.745, 0.87, 0.8999 - 1e-12, 0.9], abs=1e-8)
    assert np.array_equal(percentile("x+", p), percentile("x", p))
    with pytest.raises(ValueError, match="x2"):
        percentile("y", p)


def test_rules_reproduce_the_published_percentiles(shared):
    """From the published runs' own bounds; pooled images have no percentile."""
    columns = {"q_dist": str, "q_rule": str, "q_param": float, "pa_low": float}
    golden = pd.read_csv(shared("reference/dsrs_golden.csv.gz"), usecols=list(columns), dtype=columns)
    golden = golden[(golden["q_dist"] == "trunc") & golden["q_rule"].isin(["x", "x+", "x2"])]
    assert len(golden) > 10_000
    for rule, rows in golden.groupby("q_rule"):
        found = percentile(rule, rows["pa_low"].to_numpy())
        assert np.abs(found - rows["q_param"].to_numpy()).max() < 1e-5


def test_a_plan_of_truncated_laws():
    plan = planned(n=700, n_q=300, q=TruncatedLaw(rule="x+"))
    assert plan["selected"].tolist() == [1] * 5 and plan["k0"].tolist() == TOPS.tolist()
    assert plan["q_kind"].tolist() == ["pooled"] + ["truncated"] * 4
    assert plan["n"].tolist() == [1000] + [700] * 4
    assert plan["n_q"].tolist() == [0] + [300] * 4
    lower = clopper_pearson_lower(TOPS, 1000, 0.001)
    assert plan["q_param"].tolist() == [1.0, *percentile("x", lower)[1:]]


@pytest.mark.parametrize("rule", ["x", "x2", 0.7])
def test_rules_without_plus_pool_nothing(rule):
    plan = planned(q=TruncatedLaw(rule=rule))
    assert set(plan["q_kind"]) == {"truncated"} and set(plan["n"]) == set(plan["n_q"]) == {50_000}
    if rule == 0.7:
        assert set(plan["q_param"]) == {0.7}


def test_a_plan_of_scaled_laws():
    plan = planned(q=ScaledLaw())
    assert set(plan["q_kind"]) == {"scaled"} and set(plan["q_param"]) == {0.8}
    plan = planned(q=ScaledLaw(ratio=0.9, pool=True))
    assert plan["q_kind"].tolist() == ["pooled"] + ["scaled"] * 4
    assert plan["q_param"].tolist() == [1.0] + [0.9] * 4


def test_measurements_have_streams_of_their_own():
    sampler = Double(q=TruncatedLaw(rule="x+"), n=10, n_q=5)
    plan = sampler.plan(stage_1(), NOISE)
    first, second = sampler.measurements(PlannedImages(plan, NOISE))
    assert (first.name, first.noise, first.stream) == ("counts", NOISE, Stream.ESTIMATION)
    assert (second.name, second.stream) == ("counts_q", Stream.SECOND_DISTRIBUTION)
    assert second.noise == Truncated(k=28, sigma=0.5)
    assert first.draws.tolist() == plan["n"].tolist() and second.draws.tolist() == plan["n_q"].tolist()
    assert first.parameter is None and second.parameter.tolist() == plan["q_param"].tolist()
    sampler = Double(q=ScaledLaw(ratio=0.5))
    gaussian = Gaussian(sigma=0.5)
    (_, second) = sampler.measurements(PlannedImages(sampler.plan(stage_1(), gaussian), gaussian))
    assert second.noise == GeneralizedGaussian(k=0, sigma=0.25) and second.parameter is None


def test_what_is_refused():
    assert Double().problems() == [] and Double().noise_problems(NOISE) == []
    assert Double().noise_problems(Gaussian(sigma=1)) == []
    other = Truncated(k=1, sigma=1)
    assert "truncated" in Double().noise_problems(other)[0]
    with pytest.raises(ValueError, match="a second law is known for .*, not for kind truncated"):
        Double().measurements(PlannedImages(planned(), other))
    assert "ratio" in Double(q=ScaledLaw(ratio=1.0)).problems()[0]
    assert "no second law" in Double(arithmetic="exact").problems()[0]
    for q in ({"family": "truncated", "rule": "x3"}, {"family": "truncated", "rule": 1.0}, {"family": "uniform"}):
        with pytest.raises(ValidationError):
            Double.model_validate({"q": q})
    with pytest.raises(ValidationError):
        Double.model_validate({"q": {"family": "scaled", "ratio": 0.0}})


def test_it_survives_its_canonical_form():
    for q in (ScaledLaw(ratio=0.9), TruncatedLaw(rule="x2+"), TruncatedLaw(rule=0.6)):
        sampler = Double(q=q)
        again = Double.model_validate({k: v for k, v in sampler.canonical().items() if k != "revision"})
        assert again == sampler


# --- end to end, on 8x8 digits ----------------------------------------------------------------------------------------

DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
SAMPLER = Double(n0=8, n=120, n_q=60, q=TruncatedLaw(rule="x+"))
SPEC = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.canonical(),
    "method": spec_class("method", "gaussian")().canonical(),
    "noise": NOISE.canonical(),
    "seed": 0,
    "engine": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Plan and merged counts of 12 images, in two shards."""
    home = tmp_path_factory.mktemp("double")
    manifest, model = home / "digits.json", home / "model.safetensors"
    prepare(DIGITS, manifest)
    torch.manual_seed(1)
    trained = {**{k: v for k, v in SPEC.items() if k != "engine"}, "model": MODEL.architecture()}
    network = build(MODEL, DIGITS.info())
    with torch.no_grad():
        list(network.parameters())[-2].mul_(3)  # so that some images, not all, are unanimous
    save_model(model, network, Provenance(format="model", spec=trained, parents={"data": content_digest(manifest)}))
    where = {"manifest": manifest, "model": model, "device": "cpu"}
    images = {"split": "test", "skip": 0, "stride": 1, "max": 12}
    presample = {**SPEC, "images": images, "presample": SAMPLER.presample()}
    presample_counts(presample, DIGITS, counts=home / "pre.npz", **where)
    spec = {**presample, "sampler": SAMPLER.canonical()}
    write_plan(spec, counts=home / "pre.npz", plan=home / "plan.tsv")
    shards = [home / f"{number}.npz" for number in (1, 2)]
    for number, path in enumerate(shards, 1):
        sample_counts(spec, DIGITS, plan=home / "plan.tsv", counts=path, shard=f"{number}-of-2", **where)
    merge_counts(spec, shards=shards, plan=home / "plan.tsv", counts=home / "counts.npz")
    return home


def test_both_sets_of_counts_are_made_as_planned(files):
    plan, _ = read_table(files / "plan.tsv")
    arrays, _ = read_arrays(files / "counts.npz", format="counts")
    assert np.array_equal(arrays["idx"], plan["idx"])
    assert np.array_equal(arrays["counts"].sum(axis=1), plan["n"])
    assert np.array_equal(arrays["counts_q"].sum(axis=1), plan["n_q"])
    pooled = plan["q_kind"] == "pooled"
    assert 0 < pooled.sum() < len(plan)
    assert (plan["k0"][pooled] == 8).all() and (plan["n"][pooled] == 180).all()


def test_second_counts_are_those_of_draws_inside_the_ball(files):
    """Counted again by hand: same stream, percentiles of the plan."""
    from certflow.data.store import open_split
    from certflow.models.checkpoint import load_model
    from certflow.sampling.classifier import BaseClassifier

    plan, _ = read_table(files / "plan.tsv")
    module, _ = load_model(files / "model.safetensors", MODEL, DIGITS.info())
    base = BaseClassifier(module, MODEL.inference, shape=DIGITS.info().shape, classes=10)
    index = plan["idx"].to_numpy()
    found = count_classes(
        base,
        open_split(DIGITS, files / "digits.json", "test").read(index),
        index,
        plan["n_q"].to_numpy(),
        noise=Truncated(k=28, sigma=0.5),
        seed=0,
        stream=Stream.SECOND_DISTRIBUTION,
        parameter=plan["q_param"].to_numpy(),
        quiet=True,
    )
    assert np.array_equal(read_arrays(files / "counts.npz")[0]["counts_q"], found.counts)


def test_counts_of_a_network_that_measures_the_norm():
    """A "network" that says whether the noise is long: its counts under P and Q have known binomial laws."""

    class Long(torch.nn.Module):
        def forward(self, x):
            t = (x.flatten(1) - 0.5).double().square().sum(1) / (2 * NOISE.scale(64) ** 2)
            return torch.stack([torch.full_like(t, cut), t], 1).float()

    from certflow.sampling.classifier import BaseClassifier

    law, p_T, n = stats.gamma(4), 0.6, 20_000
    cut = law.ppf(0.4)
    base = BaseClassifier(Long(), shape=(1, 8, 8), classes=2)
    images = np.full((1, 1, 8, 8), 0.5, np.float32)
    sampler = Double(n=n, n_q=n, q=TruncatedLaw(rule=p_T))
    for q, expected in ((TruncatedLaw(rule=p_T), 0.4 / p_T), (ScaledLaw(ratio=0.8), law.cdf(cut / 0.64))):
        sampler = Double(n=n, n_q=n, q=q)
        plan = sampler.plan(stage_1(np.array([800])), NOISE)
        p, q_counts = (
            count_classes(
                base,
                images,
                np.array([5]),
                m.draws,
                noise=m.noise,
                seed=1,
                stream=m.stream,
                parameter=m.parameter,
                quiet=True,
            ).counts[0, 0]
            for m in sampler.measurements(PlannedImages(plan, NOISE))
        )
        assert stats.binomtest(int(p), n, 0.4).pvalue > 1e-6
        assert stats.binomtest(int(q_counts), n, expected).pvalue > 1e-6
