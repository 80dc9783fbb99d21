"""Training a denoiser before a frozen classifier: objectives, surrogates, optimisers, interruption."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from denoising_examples import DNCNN, DRUNET, INFO, classifier, composed
from pydantic import ValidationError
from safetensors import safe_open
from training_examples import patterns, timeless, weights

from certflow.denoising.denoiser import LevelPlane
from certflow.denoising.trainee import Trainee
from certflow.errors import NonFiniteError
from certflow.noise import Gaussian, Key, Stream, noise, philox
from certflow.training import train
from certflow.training.batch import Batch
from certflow.training.denoisers.ranges import RangeTraining
from certflow.training.denoisers.restoration import Restorer, evaluate, levels
from certflow.training.fast.adam import Adam, AdamThenSgd
from certflow.training.fast.sgd import Sgd
from certflow.training.kinds.denoised import Denoised

NAMED = {"method": "clean", "noise": "clean"}
FIELDS = {"denoiser": "d", "classifier": NAMED, "batch": 16, "schedule": "one_cycle"}


def method(objective="mse", **fields):
    return Denoised(**{**FIELDS, "objective": objective, "epochs": 2, **fields})


def batch(trainee, number=0, y=None, seed=3):
    torch.manual_seed(0)
    x = torch.rand(6, 1, 8, 8)
    return Batch(
        model=trainee,
        x=x,
        y=torch.arange(6) if y is None else y,
        index=torch.arange(6),
        noise_spec=Gaussian(sigma=0.5),
        seed=seed,
        number=number,
    )


def test_objectives_follow_their_definitions():
    network = composed(DNCNN)
    trainee, one = Trainee(network), batch(Trainee(network))
    with torch.no_grad():
        denoised = network.denoiser(one.x + one.noise(1)[0])
        logits, target = network.classifier(denoised), network.classifier(one.x).argmax(1)
        wanted = {
            "mse": (denoised - one.x).square().mean(),
            "l1": (denoised - one.x).abs().mean(),
            "stability": F.cross_entropy(logits, target),
            "classification": F.cross_entropy(logits, one.y),
        }
        assert trainee.judge(7) is network
        for objective, value in wanted.items():
            torch.testing.assert_close(method(objective).loss(one)[0], value)


def test_stability_never_looks_at_the_labels():
    trainee = Trainee(composed(DNCNN))
    one, other = (batch(trainee, y=torch.full((6,), label)) for label in (0, 9))
    assert torch.equal(method("stability").loss(one)[0], method("stability").loss(other)[0])
    assert not torch.equal(method("classification").loss(one)[0], method("classification").loss(other)[0])


def test_surrogates_take_turns_and_the_classifier_itself_gives_no_gradient():
    surrogates = [classifier(seed) for seed in (5, 6, 7)]
    network, calls = composed(DNCNN), []
    for number, surrogate in enumerate(surrogates):
        surrogate.register_forward_pre_hook(lambda *_, number=number: calls.append(number))
    network.classifier.register_forward_pre_hook(lambda *_: calls.append("target"))
    trainee = Trainee(network, surrogates)
    for number in range(4):
        method("stability", access="query", surrogates=[NAMED] * 3).loss(batch(trainee, number))
    assert calls == [0, 0, 1, 1, 2, 2, 0, 0]  # the clean image and the denoised one


def test_surrogates_take_images_as_the_data_have_them():
    """Enlarging is for the classifier off the shelf; surrogates come from methods, which train on images as they are."""
    surrogate, shapes = classifier(5), []
    surrogate.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    trainee = Trainee(composed(DNCNN, clamp=True, resize=16), [surrogate])
    method("stability", access="query", surrogates=[NAMED]).loss(batch(trainee))
    assert shapes == [(6, 1, 8, 8)] * 2 and trainee.judge(0).clamp


def run(objective, *, resume=None, stop=None, surrogates=(), **fields):
    network = composed(DNCNN)
    trainee = Trainee(network, surrogates)
    if stop is not None:
        count = iter(range(stop))

        def forward(*_):
            if trainee.training and next(count, None) is None:
                raise InterruptedError

        network.denoiser.register_forward_pre_hook(forward)
    data = patterns(train=48, test=32)
    result = train(
        method(objective, **fields),
        trainee,
        *data,
        noise=Gaussian(sigma=0.5),
        seed=2,
        resume=resume,
        digest="d" * 64,
        quiet=True,
        checkpoint_seconds=0.0,
    )
    return network, result


@pytest.mark.parametrize("objective", ["mse", "stability"])
def test_training_changes_the_denoiser_alone(objective):
    before = composed(DNCNN)
    network, result = run(objective)
    assert weights(network.classifier) == weights(before.classifier)
    assert all(
        not torch.equal(a, b) for a, b in zip(network.denoiser.parameters(), before.denoiser.parameters(), strict=True)
    )
    assert result.rows[-1]["train_loss"] < result.rows[0]["train_loss"]
    assert (result.rows[0]["train_accuracy"] is None) == (objective == "mse")


@pytest.mark.parametrize(
    "fields", [{}, {"update": "adam_then_sgd", "switch_epoch": 1, "schedule": "step"}], ids=["adam", "adam_then_sgd"]
)
def test_a_resumed_training_equals_the_uninterrupted_one(tmp_path, fields):
    surrogates = [classifier(5), classifier(6)]
    whole, wanted = run("stability", surrogates=surrogates, **fields)
    with pytest.raises(InterruptedError):
        run("stability", surrogates=surrogates, resume=tmp_path / "resume.pt", stop=4, **fields)
    with safe_open(tmp_path / "resume.pt", framework="pt") as file:
        stored = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118
    assert stored and all(name.startswith("model.composed.denoiser.") for name in stored)
    network, found = run("stability", surrogates=surrogates, resume=tmp_path / "resume.pt", **fields)
    assert found.notes["resumed"] is not None
    assert weights(network) == weights(whole)
    assert timeless(found.rows) == timeless(wanted.rows)


def quadratic(optimiser, lr, steps, p, weight_decay=0.01):
    for step in range(steps):
        optimiser.clear()
        (p.square().sum() * (step + 1)).backward()
        optimiser.step(lr, weight_decay)
    return p.detach().clone()


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_is_torchs_adam(decoupled):
    theirs = torch.nn.Parameter(torch.linspace(-1, 2, 7))
    ours = torch.nn.Parameter(theirs.detach().clone())
    cls = torch.optim.AdamW if decoupled else torch.optim.Adam
    reference = cls([theirs], lr=0.03, weight_decay=0.1)
    found = quadratic(Adam([("p", ours)], decoupled=decoupled), 0.03, 5, ours, weight_decay=0.1)
    for step in range(5):
        reference.zero_grad()
        (theirs.square().sum() * (step + 1)).backward()
        reference.step()
    torch.testing.assert_close(found, theirs.detach())


def test_adam_then_sgd_changes_over_with_fresh_momentum():
    start = torch.linspace(-1, 2, 7)
    p, q, r = (torch.nn.Parameter(start.clone()) for _ in range(3))
    both = AdamThenSgd([("p", p)], switch=3, momentum=0.9)
    adam, sgd = Adam([("q", q)]), Sgd([("r", r)], momentum=0.9)
    after = quadratic(both, 0.01, 3, p)
    assert torch.equal(after, quadratic(adam, 0.01, 3, q))
    r.data.copy_(after)
    assert torch.equal(quadratic(both, 0.01, 2, p), quadratic(sgd, 0.01, 2, r))


def test_the_rate_starts_anew_after_the_change_to_sgd():
    recipe = Denoised(denoiser="d", classifier=NAMED, objective="stability", update="adam_then_sgd")
    rates = [recipe.learning_rate(epoch, 0, 10) for epoch in (0, 30, 31, 49, 50, 80, 81, 89)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-3, 1e-3, 1e-4, 1e-4])
    plain = Denoised(denoiser="d", classifier=NAMED, objective="mse")
    assert [plain.learning_rate(e, 0, 10) for e in (0, 31, 61)] == pytest.approx([1e-3, 1e-4, 1e-5])
    assert (plain.epochs, plain.batch, plain.weight_decay) == (90, 256, 1e-4)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"denoiser": None, "objective": "mse"}, "nothing to train"),
        ({"init_from": "x"}, "give an objective"),
        ({"objective": "mse", "surrogates": [NAMED]}, "surrogates are for"),
        ({"objective": "stability", "access": "query"}, "list surrogates"),
        ({"objective": "mse", "noises": 2}, "one draw per image"),
        ({"resize": 224}, "takes the images as its model entry says"),
        ({"start_from": "x"}, "name the start of the denoiser as init_from"),
        (
            {"update": "adam_then_sgd", "schedule": "cosine"},
            "begins the drops of schedule step anew; schedule cosine has none",
        ),
        (
            {"update": "adam_then_sgd", "epochs": 50},
            "switch_epoch must be below epochs, got switch_epoch=50 and epochs=50",
        ),
    ],
)
def test_impossible_recipes_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Denoised(**{"denoiser": "d", "classifier": NAMED, **fields})


def test_levels_fill_their_range():
    u = torch.linspace(0, 1, 5)
    torch.testing.assert_close(levels(u, (0.0, 1.0), "uniform"), u)
    torch.testing.assert_close(levels(u, (0.125, 2.0), "log"), 2.0 ** torch.linspace(-3, 1, 5))


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_denoiser_learns_over_a_range_of_levels(average):
    torch.manual_seed(0)
    restorer = Restorer(DRUNET.build(INFO, None))
    recipe = RangeTraining(epochs=6, batch=16, lr=5e-3, schedule="one_cycle", criterion="mse", average=average)
    data = patterns(train=64, test=32)
    rows = train(recipe, restorer, *data, noise=noise("none"), seed=0, quiet=True).rows
    assert rows[-1]["test_loss"] < 0.5 * rows[0]["test_loss"]
    same = weights(restorer.average) == weights(restorer.live)
    assert not same
    assert restorer.best(average) is (restorer.average if average else restorer.live)


def test_test_images_have_levels_of_their_own(monkeypatch):
    """Not those that the training images of the same numbers have in some epoch; nor are they bound to the images' noise."""
    told, recipe, restorer = [], RangeTraining(sigma_range=(0.0, 1.0)), Restorer(DRUNET.build(INFO, None))
    monkeypatch.setattr(LevelPlane, "at", lambda self, y, sigma: told.append(sigma) or y)
    one = batch(restorer)
    evaluate(restorer, SimpleNamespace(epoch=lambda number: [(one.index, one.x, one.y)]), recipe, seed=one.seed)
    (found,) = told
    assert found.unique().numel() == 6 and 0 < found.min() and found.max() < 1
    for epoch in range(3):
        later = replace(one, epoch=epoch)
        assert not any(torch.isin(later.uniform(slot), found).any() for slot in range(3))
    noise = Key.of(one.index, 0, seed=one.seed, stream=Stream.TRAIN_EVALUATION)
    assert not torch.isin(philox.uniforms(64, noise), found).any()


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_denoiser_that_overflows_in_eval_mode_alone_is_not_stored(average):
    """As with running statistics that are no numbers: no training loss uses them."""
    restorer = Restorer(DNCNN.build(INFO, None))
    for denoiser in (restorer.live, restorer.average):
        denoiser.network.register_forward_hook(
            lambda network, _, found: found if network.training else found * math.nan
        )
    with pytest.raises(NonFiniteError, match="epoch 0: the loss on noisy test images is nan; lower the learning rate"):
        recipe = RangeTraining(epochs=2, batch=16, average=average)
        train(recipe, restorer, *patterns(train=32, test=8), noise=noise("none"), seed=0, quiet=True)


def test_the_average_follows_its_definition():
    restorer = Restorer(DNCNN.build(INFO, None))
    live = next(restorer.live.parameters())
    wanted = live.detach().clone()
    for step in range(4):
        with torch.no_grad():
            live.add_(1.0)
        restorer.remember(0.2)
        decay = min(0.2, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * live.detach()
    torch.testing.assert_close(next(restorer.average.parameters()).detach(), wanted)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sigma_range": (0.5, 0.5)}, "must rise"),
        ({"spacing": "log"}, "must start above 0"),
        ({"noises": 2}, "one noise draw"),
    ],
)
def test_impossible_ranges_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        RangeTraining(**fields)
