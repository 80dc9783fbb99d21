"""FT-CADIS: the golden losses, gradients against a plain loop, what the selection and the mask do, what stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from denoising_examples import composed
from pydantic import ValidationError
from safetensors import safe_open
from training_examples import patterns, timeless, weights

from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.denoiser import Blind
from certflow.noise import Gaussian
from certflow.training import losses, train
from certflow.training.batch import Batch
from certflow.training.checkpoint import changing_state
from certflow.training.gradients import accumulated
from certflow.training.kinds import ftcadis
from certflow.training.kinds.ftcadis import FtCadis

COPIES = torch.tensor(
    [[[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]],
    dtype=torch.float64,
)
"""Class probabilities of two copies of three images whose labels are 0, 1, 2: both right, one right, none right."""
LABELS = torch.arange(3)
ATTACKED = torch.tensor([[[0.5, 0.4, 0.1]], [[0.3, 0.5, 0.2]]], dtype=torch.float64)
"""Those of the first image after an attack."""


def method(**fields):
    return FtCadis(**{"start": "pair", "noises": 3, "steps": 2, "eps": 0.5, "lbd": 2.0, **fields})


def test_the_selection_has_the_golden_values():
    found = losses.selective_cross_entropy(COPIES.log(), LABELS)
    assert found.tolist() == pytest.approx([0.4337503, 0.3465736, 0.8047190], abs=1e-7)
    without = losses.selective_cross_entropy(COPIES.log(), LABELS, warm_start=False)
    assert without.tolist() == pytest.approx([0.4337503, 0.3465736, 0.0], abs=1e-7)


def test_the_worst_case_has_the_golden_values():
    assert losses.right(COPIES.log(), LABELS).all(0).tolist() == [True, False, False]
    start = COPIES[:, :1].log()
    each = [losses.worst_divergence(start, one.expand(2, 1, 3).log()).item() for one in ATTACKED]
    assert each == pytest.approx([0.0530358, 0.2599719], abs=1e-7)
    assert losses.worst_divergence(start, ATTACKED.log()).item() == max(each)


@pytest.mark.parametrize("warm_start, total", [(True, 0.8749768), (False, 0.6067370)])
def test_the_step_adds_up_to_the_golden_total(monkeypatch, warm_start, total):
    """A denoiser that does nothing and a classifier whose logits are written down: what the method makes of them."""
    told = iter([COPIES.log(), ATTACKED.log()])
    monkeypatch.setattr(ftcadis.attacks, "kl_attack", lambda batch, noise, target, **settings: noise)
    one = replace(batch(plain(), images=3), y=LABELS)
    monkeypatch.setattr(Double, "forward", lambda self, x: next(told) if self.model is one.model.head else x)
    _, logged = method(noises=2, lbd=4.0, warm_start=warm_start).loss(one)
    assert (logged["loss_ce"] + 4 * logged["loss_adv"]).item() == pytest.approx(total, abs=3e-7)
    assert logged["accuracy"].item() == pytest.approx(3 / 6)
    assert logged["masked"].item() == pytest.approx(1 / 3) == logged["rescued"].item()


class Halving(torch.nn.Module):
    """A denoiser that does something simple."""

    def forward(self, x):
        return 0.5 * x + 0.2


class Double(Batch):
    """Draws and logits in float64."""

    def copies(self, m=1):
        return self.x + self.noise(m).double()

    def forward(self, x):
        return self.model(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def plain(seed: int = 0) -> DenoiseThenClassify:
    """A classifier whose rows do not look at each other, trained for a moment so that it is sometimes right."""
    torch.manual_seed(seed)
    layers = (torch.nn.Conv2d(1, 6, 3, stride=2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(54, 3))
    network = DenoiseThenClassify(Blind(Halving()), torch.nn.Sequential(*layers), learns="classifier").double()
    return network.train()


def batch(model, images=7, epoch=0):
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(images, 1, 8, 8, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = model.classify(0.5 * x + 0.2).argmax(1)
    return Double(
        model=model, x=x, y=y, index=torch.arange(images), noise_spec=Gaussian(sigma=0.5), seed=2, epoch=epoch
    )


def straightforward(spec: FtCadis, one: Batch) -> torch.Tensor:
    """The published loop, image by image and copy by copy, in units of [-1, 1], on all images before any mask."""
    model, total = one.model, 0.0
    classify = lambda u: model.classifier((u[None] + 1) / 2)[0]  # noqa: E731
    divergence = lambda p, z: (torch.xlogy(p, p) - p * z.log_softmax(0)).sum()  # noqa: E731
    for b, noisy in enumerate(one.copies(spec.noises).transpose(0, 1)):
        u, y = 2 * one.x[b] - 1, int(one.y[b])
        d = [2 * model.denoiser(copy[None])[0] - 1 for copy in noisy]
        z = [classify(copy) for copy in d]
        target = sum(logits.softmax(0) for logits in z) / len(z)
        right = [int(logits.argmax()) == y for logits in z]
        ce = [-logits.log_softmax(0)[y] for logits in z]
        kept = [c for c, ok in zip(ce, right, strict=True) if ok or not spec.selective]
        if not kept and spec.warm_start:
            kept = [min(ce)]
        total = total + sum(kept) / len(z)
        worst = []
        for copy in d:
            eta0 = copy - u
            eps, eta = 2 * spec.epsilon(one.epoch), eta0
            for _ in range(spec.steps):
                eta = eta.detach().requires_grad_()
                (g,) = torch.autograd.grad(divergence(target.detach(), classify(u + eta)), eta)
                moved = eta.detach() + 2 * eps / spec.steps * g / (g.norm() + 1e-8) - eta0
                eta = eta0 + moved * min(1.0, eps / (float(moved.norm()) + 1e-12))
                scale = eta0.square().mean().sqrt() / eta.square().mean().sqrt()
                eta = eta0.mean() + scale * (eta - eta.mean())
            against = target.detach() if spec.detach_target else target
            worst.append(divergence(against, classify(u + eta.detach())))
        if all(right):
            total = total + spec.lbd * max(worst)
    return total / len(one.y)


VARIANTS = [
    {},
    {"detach_target": True},
    {"selective": False},
    {"warm_start": False},
    {"lbd": 0.0},
    {"noises": 1},
    {"eps": 0.0},
]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("fields", VARIANTS)
def test_gradients_are_those_of_the_published_loop(fields, masked):
    model, spec = plain(), method(attack_only_masked=masked, **fields)
    one = batch(model)
    one.y[::3] = (one.y[::3] + 1) % 3  # wrong to begin with
    wanted = torch.autograd.grad(straightforward(spec, one), list(model.classifier.parameters()))
    logged = spec.step(one)
    assert logged["objective"].item() == pytest.approx(straightforward(spec, one).item(), rel=1e-6)
    if spec.noises > 1:
        assert 0 < logged["masked"] < 1 and logged["rescued"] > 0
    for parameter, gradient in zip(model.classifier.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-8)
    assert all(parameter.grad is None for parameter in model.denoiser.parameters())


def test_plain_fine_tuning_is_the_mean_cross_entropy():
    model = plain()
    one, spec = batch(model), method(selective=False, lbd=0.0)
    shown = model.denoiser(one.copies(3).flatten(0, 1))
    wanted = F.cross_entropy(model.classifier(shown), one.y.repeat(3))
    assert spec.step(one)["objective"].item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_parts_of_a_mini_batch_have_its_gradient(size):
    found = []
    for parts in (None, size):
        model = plain()
        named = dict(model.classifier.named_parameters())

        def step(part, model=model):
            model.zero_grad()
            return method().step(part)

        stats = accumulated(step, batch(model).cut(parts), named)
        found.append((stats, {name: parameter.grad for name, parameter in named.items()}))
    (whole, wanted), (cut, gradients) = found
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-6, atol=1e-10)
    assert {name: value.item() for name, value in cut.items()} == pytest.approx(
        {name: value.item() for name, value in whole.items()}, rel=1e-6
    )


def test_images_that_are_all_wrong_are_rescued_by_one_copy():
    model = plain()
    one = batch(model)
    wrong = (one.y + 1) % 3
    logits = model.classify(model.denoiser(one.copies(3).flatten(0, 1))).view(3, 7, 3)
    hopeless = ~losses.right(logits, wrong).any(0)
    assert hopeless.any()
    one = replace(one, y=wrong).select(hopeless.nonzero()[:, 0])
    logged = method().step(one)
    assert logged["rescued"] == 1 and logged["masked"] == logged["accuracy"] == 0
    least = losses.cross_entropy(logits[:, hopeless], one.y).amin(0)
    assert logged["objective"].item() == pytest.approx((least / 3).mean().item())


def test_epsilon_doubles_when_it_is_told():
    assert [method(eps_double_epoch=10).epsilon(epoch) for epoch in (0, 9, 10, 29)] == [0.5, 0.5, 1.0, 1.0]
    assert method().epsilon(29) == 0.5


def test_epsilon_is_in_units_of_the_pixel_range():
    """0.125 here is the published 64/256 of images in [-1, 1], half of whose unit is ours."""
    assert FtCadis(start="pair").epsilon(0) == 64 / 256 / 2


def learner(**options) -> DenoiseThenClassify:
    """A denoiser with batch normalisation before a classifier that learns."""
    network = composed(**options)
    network.classifier.requires_grad_(True)
    return DenoiseThenClassify(network.denoiser, network.classifier, learns="classifier")


def run(resume=None, stop=None, **fields):
    network, calls = learner(), iter(range(10**9 if stop is None else stop))

    def forward(*_):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    network.head.register_forward_pre_hook(forward)
    recipe = method(**{"noises": 2, "batch": 24, "epochs": 2, "lr": 1e-3, "micro_batch": 10, **fields})
    arguments = {"noise": Gaussian(sigma=0.5), "seed": 3, "resume": resume, "digest": "d" * 64, "quiet": True}
    return network, train(recipe, network, *patterns(96, 32), checkpoint_seconds=0.0, **arguments)


def test_the_denoiser_keeps_its_bits_and_the_classifier_learns():
    before, (network, result) = weights(learner()), run()
    after = weights(network)
    assert {name: after[name] for name in after if name.startswith("denoiser.")} == {
        name: before[name] for name in before if name.startswith("denoiser.")
    }
    changed = [
        name
        for name, _ in network.classifier.named_parameters()
        if after[f"classifier.{name}"] != before[f"classifier.{name}"]
    ]
    assert changed == [name for name, _ in network.classifier.named_parameters()]
    assert set(result.rows[0]) >= {"train_masked", "train_rescued", "train_loss_ce", "train_loss_adv"}


def test_a_resumed_run_has_the_same_bits_and_its_file_no_denoiser(tmp_path):
    resume = tmp_path / "resume.pt"
    with pytest.raises(KeyboardInterrupt):
        run(resume=resume, stop=60)
    with safe_open(resume, "pt") as file:
        assert all("denoiser" not in name for name in file.keys())
    again, wanted = run(resume=resume), run()
    assert again[1].notes["resumed"] is not None
    assert weights(again[0]) == weights(wanted[0])
    assert timeless(again[1].rows) == timeless(wanted[1].rows)


def test_the_head_is_the_network_behind_the_denoiser_and_no_second_copy():
    network = learner()
    x = torch.rand(3, 1, 8, 8)
    network.eval()
    assert torch.equal(network.head(x), network.classify(x))
    assert network.head is network.head and "head" not in dict(network.named_children())
    assert all(name.startswith("classifier.") for name in changing_state(network))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"start_from": "a.pth"}, "start_from"),
        ({"eps": -0.1}, "eps"),
        ({"steps": 0}, "steps"),
        ({"micro_batch": 200}, "micro_batch must be at most batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        method(**fields)


def test_cost_counts_the_terms_that_there_are():
    assert method(noises=3, lbd=0.0).cost == pytest.approx(3 * 4 / 3)
    assert method(noises=3, steps=3).cost == pytest.approx(3 * (1 / 3 + 4))
    assert np.isfinite(method().cost)
