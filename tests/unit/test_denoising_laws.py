"""Denoised smoothing under every law of noise: what the denoiser is shown, what learns, classifiers trained anew behind it."""

import copy

import pytest
import torch
import torch.nn.functional as F
import yaml
from denoising_examples import DNCNN, composed
from safetensors.torch import load_file
from test_denoising_stage import CLEAN, ENTRIES, QUICK, ROOT, Workshop, raw  # noqa: F401  (raw is a fixture)
from training_examples import patterns, weights

from certflow.config import load
from certflow.denoising.trainee import Trainee
from certflow.errors import ConfigError
from certflow.kinds.registry import kinds, spec_class
from certflow.models.header import read_header
from certflow.noise import DependentSplitting, IndependentSplitting, Uniform
from certflow.noise.base import Key
from certflow.noise.streams import Stream
from certflow.training import train
from certflow.training.batch import Batch
from certflow.training.kinds.denoised import Denoised
from certflow.training.kinds.retrained import Retrained

SPLITTING = [IndependentSplitting(sigma=0.5), DependentSplitting(sigma=0.5), Uniform(sigma=0.5)]
NAMED = {"method": "clean", "noise": "clean"}
ANEW = {"kind": "retrained", "start": "mse", "epochs": 3, "batch": 32, "lr": 0.05, "schedule": "one_cycle"}


def method(objective):
    return Denoised(denoiser="d", classifier=NAMED, objective=objective, epochs=1, batch=16, schedule="one_cycle")


@pytest.mark.parametrize("kind", kinds("noise"))
def test_the_denoiser_alone_learns_under_every_law(kind):
    before, network = composed(DNCNN), composed(DNCNN)
    data = patterns(train=32, test=16)
    rows = train(
        method("stability"), Trainee(network), *data, noise=spec_class("noise", kind).small(), seed=2, quiet=True
    ).rows
    assert weights(network.classifier) == weights(before.classifier)
    assert weights(network.denoiser) != weights(before.denoiser)
    assert all(torch.isfinite(torch.tensor([row["train_loss"], row["test_loss"]])).all() for row in rows)


@pytest.mark.parametrize("law", SPLITTING, ids=lambda law: law.kind)
def test_objectives_follow_their_definitions_where_copies_are_no_sums(law):
    network, x = composed(DNCNN), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    index, y = torch.arange(6) + 3, torch.arange(6)
    one = Batch(model=Trainee(network), x=x, y=y, index=index, noise_spec=law, seed=3, epoch=2)
    key = Key(index, torch.full((6,), 2 * 1024), seed=3, stream=Stream.TRAIN_NOISE)
    with torch.no_grad():
        denoised = network.denoiser(law.copies(x.clone(), key))
        target = network.classifier(x).argmax(1)
        stability = F.cross_entropy(network.classifier(denoised), target)
        wanted = {"mse": (denoised - x).square().mean(), "stability": stability}
        for objective, value in wanted.items():
            torch.testing.assert_close(method(objective).loss(one)[0], value)


def changed(raw, **methods):  # noqa: F811
    """The configuration under splitting noise, with these methods, and an experiment of them."""
    raw["noises"] |= {"ssn": {"kind": "ssn", "sigma": 0.5}, "dssn": {"kind": "dssn", "sigma": 0.5}}
    raw["models"]["other"] = {"kind": "lenet", "resize": 28}
    raw["methods"] |= methods
    l1 = {"kind": "neyman_pearson", "norm": "l1", "sampler": "n1000", "alpha": 0.001}
    raw["certificates"] |= {"l1": l1}
    told = {"noises": ["ssn"], "methods": list(methods), "certificates": ["l1"], "model": "small"}
    raw["experiments"]["denoised"] |= told
    return raw


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    own = yaml.safe_load((ROOT / "config.yaml").read_text())
    merged = {
        key: {**own[key], **copy.deepcopy(ENTRIES.get(key, {}))} if isinstance(own[key], dict) else own[key]
        for key in own
    }
    methods = {"anew": ANEW, "frozen": {**ANEW, **QUICK, "frozen": True}}
    return Workshop(load(changed(merged, **methods)), tmp_path_factory.mktemp("laws"))


def loaded(shop, name, noise, model="small"):
    spec = shop.study.model_spec("digits", model, name, noise, 0)
    return Retrained.load(shop.model(name, noise, model=model), spec, shop.study.datasets["digits"].info(), spec=spec)


@pytest.mark.parametrize(("name", "noise"), [("anew", "dssn"), ("frozen", "ssn")])
def test_a_new_classifier_behind_the_denoiser(shop, name, noise):
    before, after = (load_file(shop.model(each, noise)) for each in ("mse", name))
    assert before.keys() == after.keys()
    same = {key for key in before if torch.equal(before[key], after[key])}
    denoiser = {key for key in before if key.startswith("denoiser.")}
    normalise = {"classifier.0.mean", "classifier.0.sd"}
    assert same & denoiser == (denoiser if name == "frozen" else set())
    assert not {key for key in before if key.endswith("weight") and key not in denoiser | normalise} & same
    network, record = loaded(shop, name, noise)
    assert record.parents["pair"] == read_header(shop.model("mse", noise))[1]
    assert not network.training
    if name == "anew":
        assert record.notes["quality"]["accuracy"] > 0.3


def test_the_new_classifier_may_be_another_network(shop):
    """The pair takes its classifier from `small`; the one that is trained is the experiment's own."""
    network, _ = loaded(shop, "frozen", "ssn", model="other")
    widths = [layer.out_channels for layer in network.classifier.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert widths[0] == 20  # LeNet's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "nothing"}, "start: 'nothing' is not a method of kind denoised"),
        ({"start": "clean"}, "start: 'clean' is not a method of kind denoised"),
        ({"start": "bare"}, "start: bare has no denoiser"),
        ({"start_from": "x.pth"}, "the model starts from that of `start`"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(raw, change, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        load(changed(raw, anew={**ANEW, **change}))


def test_a_denoiser_that_is_not_trained_here_must_be_frozen(raw, monkeypatch):  # noqa: F811
    monkeypatch.setattr(spec_class("denoiser", "diffusion"), "trainable", False)
    train = {**QUICK, "sigma_range": [0.1, 1.0]}
    raw["denoisers"]["ddpm"] = {"kind": "diffusion", "widths": [8, 8], "head_dim": 8, "groups": 4, "train": train}
    raw["methods"]["shot"] = {"kind": "denoised", "denoiser": "ddpm", "classifier": CLEAN}
    with pytest.raises(ConfigError, match="frozen: ddpm is used with the weights it has"):
        load(changed(copy.deepcopy(raw), anew={**ANEW, "start": "shot"}))
    load(changed(raw, anew={**ANEW, "start": "shot", "frozen": True}))
