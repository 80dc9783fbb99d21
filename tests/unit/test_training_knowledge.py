"""Training for knowledge continuity and its two baselines: losses by hand, what may move how far, what a collapse says."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_examples import digits, weights

from certflow import knowledge
from certflow.data.base import DataInfo
from certflow.errors import TrainingError
from certflow.kinds.registry import spec_class
from certflow.knowledge.features import extract
from certflow.knowledge.losses import LOSSES
from certflow.models import build
from certflow.models.hidden import captured
from certflow.models.kinds.small_conv import SmallConv
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import losses, nearby, seed_everything, train
from certflow.training.batch import Batch

NONE, GAUSS = spec_class("noise", "none")(), GaussianNoise(sigma=0.25)
LAYERS, HIDDEN = ["1.conv1", "1.conv2", "1.fc1"], ["1", "3", "5"]


def method(kind, **fields):
    return spec_class("method", kind)(**{"epochs": 4, "batch": 24, **fields})


def network(sharpness=1.0):
    """Random weights; the last layer times `sharpness`, so that predictions differ between images."""
    torch.manual_seed(0)
    model = build(SmallConv(), DataInfo(10, (1, 8, 8)))
    with torch.no_grad():
        model[1].fc2.weight.mul_(sharpness)
    return model


def batch(model, noise=NONE, rows=24, **fields):
    split = digits()[0]
    x = torch.from_numpy(split.read(np.arange(rows))).float() / 255
    y = torch.from_numpy(split.labels[:rows])
    return Batch(model.eval(), x, y, torch.arange(rows), noise, seed=3, **{"epochs": 4, "epoch": 3, **fields})


# ---- the penalty


@pytest.mark.parametrize("noise", [NONE, GAUSS], ids=["clean", "noisy"])
@pytest.mark.parametrize("pick", ["sampled", "all"])
def test_the_loss_is_cross_entropy_and_volatility(noise, pick):
    model, recipe = network(), method("knowledge", lbd=3.0, noises=2, pick=pick, stabiliser=0.1)
    mini = batch(model, noise, number=5)
    objective, told = recipe.loss(mini)
    copies = mini.copies(2)
    names, place = recipe.chosen(mini)
    values = []
    for name in names:
        for rows in copies:
            with captured(model, [name]) as found, torch.no_grad():
                logits = model(rows)
            ce = F.cross_entropy(logits, mini.y, reduction="none")
            values.append(knowledge.volatility(found[name].numpy(), ce.numpy(), "l2", 0.1).value)
    with torch.no_grad():
        ce = F.cross_entropy(model(copies.flatten(0, 1)), mini.y.repeat(2)).item()
    assert objective.item() == pytest.approx(ce + 3 * np.mean(values), rel=1e-4)
    assert told["penalty"].item() == pytest.approx(np.mean(values), rel=1e-4) and told["layer"].item() == place
    assert told["cross_entropy"].item() == pytest.approx(ce, rel=1e-5)
    assert told["collapse"].item() == pytest.approx(ce / np.log(10), rel=1e-5)
    objective.backward()
    assert all(parameter.grad is not None for parameter in model[1].conv1.parameters())


def test_layers_follow_the_coin_and_deep_ones_are_taken_more_often():
    mini, recipe = batch(network()), method("knowledge")
    taken, again = ([recipe.chosen(replace(mini, number=number))[0][0] for number in range(300)] for _ in range(2))
    counts = [taken.count(name) for name in LAYERS]
    expected = np.array([1, 3, 5]) / 9
    assert taken == again and set(taken) == set(LAYERS)
    assert np.abs(np.array(counts) / 300 - expected).max() < 4 * np.sqrt(0.25 / 300)
    assert not recipe.repeats and not recipe.parallel


def test_there_is_no_penalty_in_the_warm_up():
    model, recipe = network(), method("knowledge", lbd=50.0)
    objective, told = recipe.loss(batch(model, epoch=1))
    assert "penalty" not in told and objective.item() == pytest.approx(told["cross_entropy"].item())
    assert recipe.weight(1) == 0 and recipe.weight(3) == 50
    assert method("knowledge", lbd=50.0, start_from="some.pt").weight(0) == 50, "a trained network needs none"


def test_a_bounded_loss_is_taken_through_a_second_softmax():
    model, recipe = network(), method("knowledge", lbd=0.0, loss_kind="prob_ce")
    mini = batch(model)
    with torch.no_grad():
        expected = LOSSES["prob_ce"].of(model(mini.x).numpy(), mini.y.numpy()).mean()
    assert recipe.loss(mini)[0].item() == pytest.approx(expected, rel=1e-6)


def row(epoch, ce, share):
    return {"epoch": epoch, "train_cross_entropy": ce, "train_collapse": share}


def test_a_collapse_is_told_with_its_remedy():
    recipe = method("knowledge", lbd=30.0)
    recipe.judge([row(0, 2.2, 0.96)])
    with pytest.raises(TrainingError, match=r"epoch 3: .* 96% .*Lower lbd \(now 30\).*penalty_warmup"):
        recipe.judge([row(0, 2.2, 0.96), row(1, 0.4, 0.17), row(2, 2.0, 0.87), row(3, 2.2, 0.96)])
    with pytest.raises(TrainingError):
        recipe.judge([row(0, 2.2, 0.96), row(1, 0.2, 0.09), row(2, 0.9, 0.39)])
    recipe.judge([row(0, 2.2, 0.96), row(1, 0.2, 0.09), row(2, 0.5, 0.2)])


def fitted(lbd, seed, **fields):
    """A small perceptron on 1078 digits, and its features of the others."""
    data = digits(train=1078, test=719)
    recipe = {"epochs": 20, "batch": 64, "lr": 1e-3, "lr_step": 1000, "update": "adamw", "lbd": lbd, "layers": HIDDEN}
    seed_everything(seed)
    sizes = [64, 64, 64, 32]
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *parts, nn.Linear(32, 10))
    method = spec_class("method", "knowledge")(**{**recipe, **fields})
    result = train(method, model, *data, noise=NONE, seed=seed, quiet=True)
    x = torch.from_numpy(data[1].pixels).float() / 255
    return extract(model, [(x, torch.from_numpy(data[1].labels))], HIDDEN), result


def test_without_a_warm_up_a_large_penalty_finds_the_constant_loss_and_is_stopped():
    with pytest.raises(TrainingError, match="constant loss"):
        fitted(30.0, 0, penalty_warmup=0.0, penalty_ramp=0.0)


def test_volatility_falls_and_accuracy_stays():
    """Not that attacks fare worse, which this training does not bring about by itself."""
    falls, accuracy = [], []
    for seed in range(2):
        values = []
        for lbd in (0.0, 30.0):
            features, result = fitted(lbd, seed)
            ce = LOSSES["ce"].of(features.logits, features.labels)
            values.append(knowledge.volatility(features.z["3"], ce, "l2", 0.01).value)
            accuracy.append(result.rows[-1]["test_accuracy"])
        falls.append(1 - values[1] / values[0])
    assert np.mean(falls) > 0.08 and max(accuracy) - min(accuracy) < 0.05
    assert "train_penalty" in result.rows[-1] and result.rows[0]["train_penalty"] is None


# ---- the baselines


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("noise", [NONE, GAUSS], ids=["clean", "noisy"])
def test_points_stay_in_the_ball_and_where_pixels_may_be(norm, noise):
    mini = batch(network(), noise)
    copies = mini.copies(2)
    far = copies + 5 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(0))
    found = nearby.moved(mini, copies, far, 0.3, norm)
    away = (found - copies).flatten(2)
    size = away.abs().amax(2) if norm == "linf" else away.norm(dim=2)
    assert size.max() <= 0.3 * (1 + 1e-5) and size.min() > 0.05
    assert (found >= copies.clamp(max=0)).all() and (found <= copies.clamp(min=1)).all()
    drawn = nearby.start(mini, copies, 0.3, norm)
    assert not torch.equal(drawn, copies) and torch.equal(nearby.moved(mini, copies, drawn, 0.3, norm), drawn)
    assert nearby.start(mini, copies, 0.0, norm) is copies


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_adversarial_examples_are_harder_and_leave_the_network_as_it_was(norm):
    model = network(30.0)
    before = weights(model)
    mini = batch(model)
    plain = method("gaussian").loss(mini)[0].item()
    none, _ = method("adversarial", eps=0.0, norm=norm).loss(mini)
    found, _ = method("adversarial", eps=0.2, norm=norm).loss(mini)
    assert none.item() == pytest.approx(plain, rel=1e-6) and found.item() > plain + 0.02
    assert weights(model) == before and all(p.requires_grad for p in model.parameters())


def test_one_step_from_the_image_is_the_fast_gradient_sign():
    model = network()
    mini = batch(model)
    x = mini.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(model(x), mini.y, reduction="sum"), x)
    expected = F.cross_entropy(model((mini.x + 0.1 * g.sign()).clamp(0, 1)), mini.y)
    found, _ = method("adversarial", eps=0.1, steps=1, step_length=1.0).loss(mini)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("confidence", [1.0, 1e3])
def test_confidence_hides_no_adversary(confidence):
    """Two linear classes: the slope has one direction everywhere, and float32 rounds that of the cross-entropy to 0."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        model[1].weight.mul_(confidence), model[1].bias.mul_(confidence)
    mini = batch(model)
    mini = replace(mini, y=model(mini.x).argmax(1))
    way = (model[1].weight[1 - mini.y] - model[1].weight[mini.y]).sign().view_as(mini.x)
    expected = F.cross_entropy(model((mini.x + 0.1 * way).clamp(0, 1)), mini.y)
    found, _ = method("adversarial", eps=0.1, steps=1, step_length=1.0).loss(mini)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_virtual_adversaries_turn_predictions_more_than_chance():
    model = network(30.0)
    mini = batch(model)
    copies = mini.copies(1)
    loss, _ = method("alum", radius=0.2, weight=2.0).loss(mini)
    plain, _ = method("alum", radius=0.2, weight=0.0).loss(mini)
    ce = F.cross_entropy(model(mini.x), mini.y)
    assert plain.item() == pytest.approx(ce.item(), rel=1e-6)
    way = torch.randn(copies.shape, generator=torch.Generator().manual_seed(0)).sign()
    moved = nearby.moved(mini, copies, copies + 0.2 * way, 0.2, "linf")
    logits, other = model(mini.x)[None], model(moved[0])[None]
    p, q = logits.softmax(-1), other.softmax(-1)
    chance = ((p - q) * (p.log() - q.log())).sum(-1).mean()
    assert loss.item() - plain.item() > 2 * chance.item() > 0


def test_divergence_is_that_of_the_probabilities():
    logits, other = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double().unbind(0)
    p, q = logits[None].softmax(-1), other[None].softmax(-1)
    assert torch.allclose(losses.divergence(logits[None], other[None]), (p * (p / q).log()).sum(-1))
