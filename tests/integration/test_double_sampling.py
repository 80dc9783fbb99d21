"""Double sampling from training to radii, on 8x8 digits: warm-up, two laws, two certificates of the same counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from certflow.certify.stage import certify_radii
from certflow.data.store import content_digest, open_split, prepare
from certflow.files.artefact import read_arrays, read_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import build, save_model
from certflow.noise import GeneralizedGaussian
from certflow.sampling.kinds.double import Double, ScaledLaw, TruncatedLaw
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import write_plan
from certflow.sampling.stage import presample_counts, sample_counts
from certflow.training import train

DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
NOISE = GeneralizedGaussian(k=28, sigma=0.25)
METHOD = spec_class("method", "gaussian")(
    epochs=12, batch=64, lr=0.05, schedule="one_cycle", nesterov=True, noise_warmup=8
)
SPEC = {
    "dataset": DIGITS.canonical(),
    "model": MODEL.canonical(),
    "method": METHOD.canonical(),
    "noise": NOISE.canonical(),
    "seed": 0,
    "engine": 1,
}
IMAGES = {"split": "test", "skip": 0, "stride": 11, "max": None}
N = 800


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A trained model and its manifest."""
    home = tmp_path_factory.mktemp("double")
    prepare(DIGITS, home / "digits.json")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(MODEL, DIGITS.info())
    splits = (open_split(DIGITS, home / "digits.json", split) for split in ("train", "test"))
    result = train(METHOD, network, *splits, noise=NOISE, seed=0, quiet=True)
    assert result.rows[-1]["test_accuracy"] > 0.75
    trained = {**{k: v for k, v in SPEC.items() if k != "engine"}, "model": MODEL.architecture()}
    parents = {"data": content_digest(home / "digits.json")}
    save_model(home / "model.safetensors", network, Provenance(format="model", spec=trained, parents=parents))
    return home


def certified(home: Path, sampler: Double, name: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """The tables of both certificates, and the arrays of counts."""
    where = {"manifest": home / "digits.json", "model": home / "model.safetensors", "device": "cpu"}
    pre, plan, shard, counts = (home / f"{name}.{part}" for part in ("pre.npz", "plan.tsv", "shard.npz", "npz"))
    first = {**SPEC, "images": IMAGES, "presample": sampler.presample()}
    presample_counts(first, DIGITS, counts=pre, **where)
    spec = {**first, "sampler": sampler.canonical()}
    write_plan(spec, counts=pre, plan=plan)
    sample_counts(spec, DIGITS, plan=plan, counts=shard, shard="1-of-1", **where)
    merge_counts(spec, shards=[shard], plan=plan, counts=counts)
    tables = []
    for kind in ("neyman_pearson", "dsrs"):
        certificate = spec_class("certificate", kind)(sampler="double", alpha=0.001)
        wanted = {**spec, "certificate": certificate.canonical()}
        certify_radii(wanted, plan=plan, counts=counts, table=home / f"{name}.{kind}.tsv")
        tables.append(read_table(home / f"{name}.{kind}.tsv")[0])
    return *tables, read_arrays(counts)[0]


@pytest.fixture(scope="module")
def truncated(home):
    return certified(home, Double(n0=100, n=N, n_q=N, q=TruncatedLaw(rule="x+")), "truncated")


def test_two_laws_certify_at_least_what_one_does(truncated):
    _, both, _ = truncated
    answered = both["predict"] >= 0
    assert answered.mean() > 0.7
    assert (both["radius"] >= both["radius_np"] - 1e-9).all()
    drawn_twice = both[both["q_kind"] == "truncated"]
    assert (drawn_twice["radius"] > drawn_twice["radius_np"] + 0.01 * NOISE.sigma).any()


def test_pooled_images_are_certified_as_one_sample_at_full_level(truncated):
    """Their radius under `dsrs` is that of `neyman_pearson`, of n + n_q draws at the same alpha."""
    one, both, _ = truncated
    pooled = both["q_kind"] == "pooled"
    assert 0 < pooled.sum() < len(both)
    assert (both["n"][pooled] == 2 * N).all() and (both["n_q"][pooled] == 0).all()
    assert np.allclose(both["radius"][pooled], one["radius"][pooled], rtol=0, atol=1e-5 * NOISE.sigma)


def test_counts_under_the_ball_fit_those_of_the_whole(truncated):
    """At most p_T·Pr_Q is lost inside the ball: k_q/n_q·p_T ≤ p_A, and p_A ≤ k_q/n_q·p_T + 1 - p_T, up to chance."""
    _, both, arrays = truncated
    two = both[both["q_kind"] == "truncated"]
    assert (arrays["counts_q"].sum(axis=1) == both["n_q"]).all()
    inside = two["q_param"] * two["k_q"] / two["n_q"]
    p = two["k"] / two["n"]
    margin = stats.norm.isf(1e-6 / (2 * len(two))) * np.sqrt(0.25 / N + 0.25 / N)
    assert (inside <= p + margin).all()
    assert (p <= inside + 1 - two["q_param"] + margin).all()
    assert (two["k_q"] / two["n_q"]).mean() > p.mean()  # closer to the image the class is found more often


def test_the_scaled_law(home):
    _, both, arrays = certified(home, Double(n0=50, n=N, n_q=N, q=ScaledLaw(ratio=0.8)), "scaled")
    assert set(both["q_kind"]) == {"scaled"} and (arrays["counts_q"].sum(axis=1) == N).all()
    assert (both["radius"] >= both["radius_np"] - 1e-9).all()
    assert (both["radius"] > both["radius_np"] + 0.01 * NOISE.sigma).any()
