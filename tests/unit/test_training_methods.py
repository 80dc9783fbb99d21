"""Each method's loss on a mini-batch against a loop over images and noises; what it does to batch normalisation; bad input."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import ndtri
from training_examples import network, patterns

from certflow.kinds.registry import kinds, spec_class
from certflow.noise import Gaussian as GaussianNoise
from certflow.noise.base import NoiseSpec
from certflow.training import attacks, train
from certflow.training.batch import Batch
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper

IMAGES, CLASSES, SIGMA = 6, 10, 0.5


def method(kind, **fields):
    return spec_class("method", kind)(**fields)


def plain_network():
    """No batch normalisation, so that rows may be computed one by one; large weights, so that predictions differ."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(64, 24), torch.nn.Linear(24, CLASSES)
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(4)
    return torch.nn.Sequential(torch.nn.Flatten(), layers[0], torch.nn.Tanh(), layers[1])


def example(model=None, epoch=0, epochs=100, cls=Batch):
    generator = torch.Generator().manual_seed(5)
    model = (model or plain_network()).train()
    x = (torch.rand(IMAGES, 1, 8, 8, generator=generator) * 2 - 0.5).clamp(0, 1)
    with torch.no_grad():
        y = model.eval()(x).argmax(1) if model[0].__class__ is torch.nn.Flatten else torch.arange(IMAGES)
    y[1] = (y[1] + 1) % CLASSES  # all images but one are classified right without noise
    table = torch.rand(100, CLASSES, generator=generator)
    table[:, 3] = 0
    return cls(
        model=model.train(),
        x=x,
        y=y,
        index=torch.arange(10, 10 + IMAGES),
        noise_spec=GaussianNoise(sigma=SIGMA),
        seed=2,
        epoch=epoch,
        epochs=epochs,
        tables={"predictions": table / table.sum(1, keepdim=True)},
    )


class ImageMajor(Batch):
    """Pairs logits with images as if the copies of an image stood side by side, which they do not."""

    def forward(self, x):
        logits = super().forward(x)
        return logits.flatten(0, 1).unflatten(0, (len(self.y), len(x))).transpose(0, 1)


def probabilities(batch, x, noise):
    """softmax f(x_b + δ_{i,b}) as nested lists [m][images] of vectors, one row at a time, with gradients."""
    return [[batch.model((x[b] + n[b])[None]).softmax(1)[0] for b in range(len(x))] for n in noise]


def log(p):
    return p.clamp(min=1e-30).log()


def mean(rows):
    return sum(rows) / len(rows)


def each(p):
    """Pairs (image, its m probability vectors)."""
    return [(b, [row[b] for row in p]) for b in range(len(p[0]))]


def cross_entropy(batch, p):
    return mean([-log(row[b])[batch.y[b]] for row in p for b in range(IMAGES)])


def divergence(p, q):
    return sum(p[c] * (log(p)[c] - log(q)[c]) for c in range(CLASSES) if p[c] > 0)


def slow_gaussian(spec, batch):
    return cross_entropy(batch, probabilities(batch, batch.x, batch.noise(spec.noises)))


def slow_stability(spec, batch):
    noisy = probabilities(batch, batch.x, batch.noise(spec.noises))
    clean = probabilities(batch, batch.x, torch.zeros_like(batch.x)[None])
    target = mean([-(clean[0][b] * log(q)).sum() for b, rows in each(noisy) for q in rows])
    return cross_entropy(batch, clean) + spec.lbd * target


def slow_stabilized(spec, batch):
    first, second = probabilities(batch, batch.x, batch.noise(2))
    apart = mean([divergence(p, q) for p, q in zip(first, second, strict=True)])
    return cross_entropy(batch, [first]) + spec.lbd * apart


def slow_direct(spec, batch):
    rows = each(probabilities(batch, batch.x, batch.noise(spec.noises)))
    return mean([-log(mean(copies))[batch.y[b]] for b, copies in rows])


def slow_smoothadv(spec, batch):
    noise, epsilon = batch.noise(spec.noises), spec.eps256 / 256 * min(1, (batch.epoch + 1) / spec.warmup)
    if spec.attack == "ddn":
        x = attacks.smoothadv_ddn(batch, noise, epsilon=epsilon, steps=spec.steps, gamma=spec.ddn_gamma)
    else:
        x = attacks.smoothadv_pgd(batch, noise, epsilon=epsilon, steps=spec.steps, gradient_free=spec.gradient_free)
    return cross_entropy(batch, probabilities(batch, x, noise))


def slow_macer(spec, batch):
    noise = batch.noise(spec.noises)
    total = 0
    logits = [[batch.model((batch.x[b] + n[b])[None])[0].double() for b in range(IMAGES)] for n in noise]
    for b in range(IMAGES):
        total = total - (mean([row[b].softmax(0) for row in logits])[batch.y[b]] + 1e-10).log()
        q = mean([(spec.beta * row[b]).softmax(0) for row in logits])
        second, first = np.sort(q.detach())[-2:]
        if q.argmax() == batch.y[b] and ndtri(first) - ndtri(second) <= spec.gamma and math.isfinite(ndtri(first)):
            q2, q1 = q.sort().values[-2:]
            xi = torch.special.ndtri(q1) - torch.special.ndtri(q2)
            if not spec.deferred or batch.epoch > spec.lr_step:
                total = total + spec.lbd * SIGMA / 2 * (spec.gamma - xi)
    return total / IMAGES


def slow_consistency(spec, batch, x=None):
    noise = batch.noise(spec.noises)
    p = probabilities(batch, batch.x if x is None else x, noise)
    terms = []
    for _, rows in each(p):
        average = mean(rows)
        kl = mean([divergence(average, q) for q in rows])
        soft = average.softmax(0) if spec.entropy_form == "double_softmax" else average
        h = -(soft * log(soft)).sum()
        weighted = {
            "default": spec.lbd * kl + spec.eta * h,
            "xent": spec.lbd * (kl + h),
            "kl": spec.lbd * kl,
            "mse": spec.lbd * ((rows[0] - rows[-1]) ** 2).sum(),
        }
        terms.append(weighted[spec.form])
    return cross_entropy(batch, p) + mean(terms)


def slow_consistency_smoothadv(spec, batch):
    epsilon = spec.eps256 / 256 * min(1, (batch.epoch + 1) / spec.warmup)
    x = attacks.consistency_pgd(batch, batch.noise(spec.noises), epsilon=epsilon, steps=spec.steps)
    return slow_consistency(spec, batch, x)


def slow_smoothmix(spec, batch):
    noise, w = batch.noise(spec.noises), min(1, (batch.epoch + 1) / spec.warmup)
    start, adversary = attacks.smoothmix_ascent(
        batch,
        noise,
        alpha=spec.alpha,
        steps=spec.steps,
        mix_step=spec.mix_step,
        radius=spec.maxnorm,
        start_radius=w * (spec.alpha * spec.mix_step if spec.maxnorm_start is None else spec.maxnorm_start),
    )
    r = batch.uniform(0)[:, 0] / 2
    mixed = torch.stack([(1 - r[b]) * start[b] + r[b] * adversary[b] for b in range(IMAGES)])
    p, q = probabilities(batch, start, noise), probabilities(batch, mixed, noise)
    total = 0
    for b, rows in each(p):
        average = mean(rows)
        if average.argmax() == batch.y[b]:
            target = (1 - r[b]) * average + r[b] / CLASSES
            total = total + sum(divergence(target, row[b]) for row in q)
    return cross_entropy(batch, p) + spec.eta * w * total / (spec.noises * IMAGES)


def slow_catrs(spec, batch):
    noise, target, m = batch.noise(spec.noises), batch.tables["predictions"][batch.index], spec.noises
    double = spec.eps_double_epoch is not None and batch.epoch >= spec.eps_double_epoch
    worst = attacks.kl_attack(batch, noise, target, epsilon=spec.eps256 / 256 * (1 + double), steps=spec.steps)
    p, q, coins = probabilities(batch, batch.x, noise), probabilities(batch, batch.x, worst), batch.uniform(0, m)
    total = 0
    for b, rows in each(p):
        right = sum(int(row.argmax() == batch.y[b]) for row in rows) / m
        confidence = target[b, batch.y[b]].item() if spec.confidence_mask else right
        k = max(1, sum(int(coin < confidence) for coin in coins[b]))
        total = total + sum(sorted((-log(row)[batch.y[b]] for row in rows), key=torch.Tensor.detach)[:k]) / m
        if k == m:
            total = total + spec.lbd * max((divergence(target[b], row[b]) for row in q), key=torch.Tensor.detach)
    return total / IMAGES


CASES = {
    "gaussian": (slow_gaussian, [{}, {"noises": 3}]),
    "stability": (slow_stability, [{}, {"noises": 2, "lbd": 0.5}]),
    "stabilized": (slow_stabilized, [{}, {"lbd": 0.5}]),
    "direct": (slow_direct, [{"noises": 1}, {"noises": 5}]),
    "smoothadv": (
        slow_smoothadv,
        [
            {"noises": 3, "steps": 2, "warmup": 1},
            {"noises": 1, "steps": 2, "warmup": 4},
            {"noises": 3, "steps": 3, "warmup": 1, "gradient_free": True},
            {"noises": 3, "steps": 4, "warmup": 1, "attack": "ddn"},
        ],
    ),
    "macer": (
        slow_macer,
        [{"noises": 4}, {"noises": 4, "beta": 1.0, "lbd": 3.0}, {"noises": 4, "deferred": True, "lr_step": 2}],
    ),
    "consistency": (
        slow_consistency,
        [
            {"noises": 2},
            {"noises": 3, "lbd": 2.0, "eta": 0.1},
            {"noises": 2, "form": "xent"},
            {"noises": 2, "form": "xent", "entropy_form": "double_softmax"},
            {"noises": 2, "entropy_form": "double_softmax"},
            {"noises": 3, "form": "kl"},
            {"noises": 2, "form": "mse"},
        ],
    ),
    "consistency_smoothadv": (slow_consistency_smoothadv, [{"noises": 2, "steps": 2, "warmup": 1}]),
    "smoothmix": (
        slow_smoothmix,
        [
            {"noises": 2, "steps": 2, "warmup": 1},
            {"noises": 3, "steps": 2, "mix_step": 1, "alpha": 0.5, "eta": 5.0, "warmup": 4},
            {"noises": 2, "steps": 3, "mix_step": 2, "maxnorm": 1.0, "maxnorm_start": 0.5},
            {"noises": 2, "steps": 4, "mix_step": 2, "alpha": 0.5, "eta": 0.0, "warmup": 2},
            {"noises": 2, "steps": 2, "mix_step": 2, "eta": 0.0},
        ],
    ),
    "catrs": (
        slow_catrs,
        [
            {"noises": 3, "steps": 2},
            {"noises": 2, "steps": 1, "lbd": 2.0, "confidence_mask": True},
            {"noises": 1, "steps": 2},
            {"noises": 3, "lbd": 0.0},
            {"noises": 3, "steps": 2, "eps_double_epoch": 2, "eps256": 64.0},
            {"noises": 3, "steps": 2, "attack_only_masked": True},
        ],
    ),
}
VARIANTS = [(kind, fields) for kind, (_, variants) in CASES.items() for fields in variants]


def gradients(model, value):
    return torch.autograd.grad(value, list(model.parameters()))


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize(("kind", "fields"), VARIANTS)
def test_step_is_the_gradient_of_a_loop_over_images_and_noises(kind, fields, epoch):
    spec, batch = method(kind, **fields), example(epoch=epoch)
    slow = CASES[kind][0](spec, batch)
    expected = gradients(batch.model, slow)
    stats = spec.step(batch)
    assert stats["objective"].item() == pytest.approx(slow.item(), rel=2e-5)
    scale = max(g.abs().max().item() for g in expected)
    for parameter, g in zip(batch.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, g, rtol=1e-3, atol=1e-4 * scale)
    assert spec.loss(batch)[0].item() == pytest.approx(slow.item(), rel=2e-5)


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind not in ("stability", "stabilized")])
def test_a_batch_read_image_by_image_gives_another_loss(kind):
    """The test above would notice a mix-up of the layouts [m, images] and [images, m]."""
    fields = {**CASES[kind][1][0], "noises": 3}
    spec, right, wrong = method(kind, **fields), example(epoch=3), example(epoch=3, cls=ImageMajor)
    assert spec.loss(wrong)[0].item() != pytest.approx(spec.loss(right)[0].item(), rel=0.02)


PASSES = {
    "gaussian": [(True, 1, {})],
    "stability": [(True, 1, {}), (True, 1, {})],
    "stabilized": [(True, 1, {}), (True, 1, {})],
    "direct": [(True, 4, {"noises": 4})],
    "smoothadv": [(False, 2, {"steps": 3}), (True, 2, {})],
    "macer": [(True, 4, {"noises": 4})],
    "consistency": [(True, 2, {})],
    "consistency_smoothadv": [(False, 2, {"steps": 3}), (True, 2, {})],
    "smoothmix": [(False, 2, {"steps": 3}), (True, 2, {}), (True, 2, {})],
    "catrs": [(True, 2, {"noises": 2}), (False, 2, {"steps": 3}), (True, 2, {})],
}
"""Kind → (train mode, noises, fields) of its forward passes in order; those of the attack come `steps` times."""


@pytest.mark.parametrize("kind", PASSES)
def test_forward_passes_and_updates_of_running_statistics(kind):
    fields = {key: value for _, _, extra in PASSES[kind] for key, value in extra.items()}
    spec, batch = method(kind, **fields), example(network(dropout=0), epoch=3)
    seen = []
    batch.model.register_forward_pre_hook(lambda module, args: seen.append((module.training, len(args[0]))))
    before = batch.model[1].num_batches_tracked.item()
    spec.step(batch)
    expected = [(mode, m * IMAGES) for mode, m, _ in PASSES[kind] for _ in range(1 if mode else fields["steps"])]
    assert seen == expected
    assert batch.model[1].num_batches_tracked.item() - before == sum(mode for mode, _ in expected)
    assert batch.model.training


UNWEIGHTED = [
    ("catrs", {"lbd": 0.0}, 0),
    ("alum", {"weight": 0.0}, 0),
    ("smoothmix", {"eta": 0.0}, 0),
    ("smoothmix", {"eta": 0.0, "mix_step": 1}, 2),
]
"""Kind, fields by which a term has weight 0, and how many passes of an attack what is left needs."""


@pytest.mark.parametrize(("kind", "fields", "attacked"), UNWEIGHTED)
def test_a_term_of_weight_0_is_not_computed(kind, fields, attacked):
    spec, batch, modes = method(kind, noises=2, steps=4, **fields), example(network(dropout=0)), []
    batch.model.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    spec.step(batch)
    assert modes == [False] * attacked + [True]
    assert spec.cost == pytest.approx(2 * (1 + 2 * attacked / 3))


def test_every_method_is_tested_here():
    """One registered kind, one slow twin (kinds that bring a model, and those with tests of their own, aside)."""
    assert set(CASES) == set(PASSES)
    assert set(CASES) <= set(kinds("method"))


@pytest.mark.parametrize("kind", ["smoothadv", "consistency_smoothadv", "smoothmix", "catrs"])
def test_attack_and_loss_share_their_noises(kind):
    """Every input of the network is some image plus one and the same set of noises, in the attack and after it."""
    spec = method(kind, noises=2, steps=2, **({} if kind == "catrs" else {"warmup": 1}))
    batch, drawn, inputs = example(), [], []
    batch.model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].unflatten(0, (2, IMAGES))))
    noise = batch.noise(2)
    spec.step(batch)
    if kind == "catrs":
        drawn = [x - batch.x for x in inputs]
        assert all(attacks.norms(n - noise).max() < 1.05 for n in drawn)
    else:
        drawn = [(x[1] - x[0]) - (noise[1] - noise[0]) for x in inputs]
        assert all(difference.abs().max() < 1e-5 for difference in drawn)
    assert len(drawn) >= 3


def test_gaussian_limits():
    """Where a method's own term vanishes, its loss is that of Gaussian augmentation."""
    batch = example()
    plain = method("gaussian", noises=2).loss(batch)[0]
    for spec in (
        method("smoothadv", noises=2, eps256=0.0),
        method("consistency", noises=2, lbd=0.0, eta=0.0),
        method("smoothmix", noises=2, eta=0.0, mix_step=0, steps=1),
    ):
        torch.testing.assert_close(spec.loss(batch)[0], plain)
    sure = example()
    sure.tables["predictions"].zero_().scatter_(1, sure.y.repeat(20)[:100, None], 1.0)
    sure.tables["predictions"][sure.index] = torch.nn.functional.one_hot(sure.y, CLASSES).float()
    spec = method("catrs", noises=2, lbd=0.0, confidence_mask=True, steps=1)
    torch.testing.assert_close(spec.loss(sure)[0], plain)


def test_catrs_counts_have_the_binomial_law():
    """K = max(1, Binomial(M, ŵ)): with M = 4 and ŵ = 3/4 the mask is set with probability 0.3164, K = 1 with 0.0508."""
    images = 4000
    batch = example()
    table = torch.full((images, CLASSES), 0.25 / 9)
    table[:, 0] = 0.75
    many = Batch(
        **{
            **vars(batch),
            "x": batch.x[:1].expand(images, -1, -1, -1),
            "y": torch.zeros(images, dtype=torch.int64),
            "index": torch.arange(images),
            "tables": {"predictions": table},
        }
    )
    spec = method("catrs", noises=4, confidence_mask=True)
    _, mask, _ = spec._low(many, many.noise(4))
    share = mask.double().mean().item()
    assert abs(share - 0.75**4) < 5 * math.sqrt(0.3164 * 0.6836 / images)
    coins = (many.uniform(0, 4) < 0.75).sum(1)
    found = torch.bincount(coins, minlength=5).double() / images
    expected = torch.tensor([0.0039, 0.0469, 0.2109, 0.4219, 0.3164], dtype=torch.float64)
    assert (found - expected).abs().max() < 0.04
    # Without confidence nothing is masked in for M > 1; M = 1 masks every image in.
    table[:, 0] = 0
    assert not spec._low(many, many.noise(4))[1].any()
    assert method("catrs", noises=1, confidence_mask=True)._low(many, many.noise(1))[1].all()


def test_catrs_attack_of_masked_images_alone_is_the_same_and_may_have_nothing_to_do():
    for wrong in (False, True):
        both = []
        for only in (False, True):
            batch = example()
            if wrong:
                batch.y.copy_((batch.y + 5) % CLASSES)
            stats = method("catrs", noises=2, steps=2, attack_only_masked=only).step(batch)
            both.append((stats["objective"], [p.grad for p in batch.model.parameters()]))
        torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=1e-6)


def test_logged_losses_are_those_the_field_logs():
    for kind in ("stability", "macer", "catrs"):
        fields = CASES[kind][1][0]
        batch = example()
        _, stats = method(kind, **fields).loss(batch)
        first, _ = method(kind, **{**fields, "lbd": 0.0}).loss(batch)
        assert stats["loss"].item() == pytest.approx(first.item(), rel=1e-6)
        assert not stats["loss"].requires_grad
    for kind in ("smoothmix", "smoothadv", "consistency"):
        assert "loss" not in method(kind, **CASES[kind][1][0]).loss(example())[1]


def test_defaults_of_both_parents():
    spec = method("consistency_smoothadv")
    assert (spec.noises, spec.lbd, spec.eps256, spec.steps) == (2, 10, 256, 10)


@pytest.mark.parametrize("kind", ["smoothadv", "consistency_smoothadv"])
def test_attack_radius_warms_up_linearly(kind):
    spec = method(kind, eps256=128.0, warmup=10)
    assert [spec.epsilon(e) for e in (0, 4, 8, 9, 10, 99)] == pytest.approx([0.05, 0.25, 0.45, 0.5, 0.5, 0.5])
    assert method(kind, eps256=255.0, warmup=1).epsilon(0) == pytest.approx(0.99609375, abs=0)
    assert method(kind, eps256=512.0, warmup=1).epsilon(0) == 2.0


def test_catrs_radius_doubles_late():
    spec = method("catrs", eps256=256.0, eps_double_epoch=80)
    assert [spec.epsilon(e) for e in (0, 79, 80, 99)] == [1, 1, 2, 2]
    assert method("catrs").epsilon(10_000) == 1


@pytest.mark.parametrize(("persistent", "late"), [(False, 1e-3), (True, 1e-4)])
def test_catrs_extra_drop_of_the_learning_rate(persistent, late):
    spec = method("catrs", lr=0.1, lr_step=30, epochs=90, lr_extra_drop={"epoch": 85, "persistent": persistent})
    found = [spec.learning_rate(e, 0, 1) for e in (0, 30, 31, 60, 61, 84, 85, 86, 89)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, late, late])


@pytest.mark.parametrize(("offset", "first"), [(0, 3), (1, 4)])
def test_deferred_macer_waits_for_the_first_drop_of_the_learning_rate(offset, first):
    fields = {"lr_step": 3, "epochs": 9, "lr_drop_offset": offset, "noises": 4, "beta": 1.0}
    spec, never = method("macer", deferred=True, **fields), method("macer", lbd=0.0, **fields)
    for epoch in range(7):
        batch = example(epoch=epoch)
        same = spec.loss(batch)[0].item() == pytest.approx(never.loss(batch)[0].item(), rel=1e-9)
        assert same == (epoch < first)
        dropped = spec.learning_rate(epoch, 0, 1) < spec.lr
        assert dropped == (epoch >= first)


@pytest.mark.parametrize("kind", ["smoothadv", "consistency", "consistency_smoothadv", "smoothmix", "catrs"])
@pytest.mark.parametrize(("images", "noises", "steps", "used"), [(8, 3, 3, 6), (7, 4, 4, 4), (2, 3, 0, 0)])
def test_images_left_over_by_the_division_are_skipped(kind, images, noises, steps, used):
    spec = method(kind, noises=noises, batch=8, **({} if kind == "consistency" else {"steps": 1}))
    model = network(dropout=0)
    tables = {name: torch.full((images, 10), 0.1) for name in spec.tables}
    stepper = Stepper(spec, model, noise=GaussianNoise(sigma=SIGMA), seed=0, batches=1, tables=tables)
    meter = Meter()
    stepper.advance((torch.arange(images), torch.rand(images, 1, 8, 8), torch.arange(images) % 10), 0, 0, meter)
    meter.read("here")
    assert (meter.sums["steps"], meter.sums["images"]) == (steps, used)


@pytest.mark.parametrize(("kind", "splits"), [("gaussian", 1), ("stability", 1), ("macer", 1), ("catrs", 4)])
def test_only_methods_that_split_make_several_steps_of_a_batch(kind, splits):
    spec = method(kind, noises=4)
    tables = {name: torch.full((8, 10), 0.1) for name in spec.tables}
    stepper = Stepper(spec, network(), noise=GaussianNoise(sigma=SIGMA), seed=0, batches=1, tables=tables)
    meter = Meter()
    stepper.advance((torch.arange(8), torch.rand(8, 1, 8, 8), torch.arange(8)), 0, 0, meter)
    assert len(meter) == splits


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("smoothadv", {"noises": 0}, "noises"),
        ("smoothadv", {"noises": 300, "batch": 256}, "batch must be at least noises, got batch=256 and noises=300"),
        ("smoothadv", {"steps": 0}, "steps"),
        ("smoothadv", {"eps256": -1.0}, "eps256"),
        ("smoothadv", {"warmup": 0}, "warmup"),
        ("smoothadv", {"attack": "fgsm"}, "attack"),
        ("smoothadv", {"attack": "ddn", "gradient_free": True}, "not implemented for attack ddn"),
        ("smoothadv", {"attack": "ddn", "ddn_gamma": 1.0}, "ddn_gamma"),
        ("consistency_smoothadv", {"eps256": -1.0}, "eps256"),
        ("consistency_smoothadv", {"steps": 0}, "steps"),
        ("stability", {"lbd": -0.1}, "lbd"),
        ("stabilized", {"lbd": -0.1}, "lbd"),
        ("stabilized", {"noises": 3}, "noises"),
        ("macer", {"lbd": -0.1}, "lbd"),
        ("macer", {"beta": 0.0}, "beta"),
        ("macer", {"gamma": 0.0}, "gamma"),
        ("macer", {"deferred": True, "schedule": "one_cycle"}, "schedule one_cycle has none"),
        ("macer", {"deferred": True, "epochs": 50, "lr_step": 50}, "until epoch 51, but the last epoch is 49"),
        ("consistency", {"lbd": -1.0}, "lbd"),
        ("consistency", {"eta": -1.0}, "eta"),
        ("consistency", {"form": "mse", "noises": 3}, "set noises: 2, got 3"),
        ("smoothmix", {"mix_step": -1}, "mix_step"),
        ("smoothmix", {"alpha": -1.0}, "alpha"),
        ("smoothmix", {"eta": -1.0}, "eta"),
        ("smoothmix", {"steps": 0}, "steps"),
        ("smoothmix", {"maxnorm": -1.0}, "maxnorm"),
        ("adversarial", {"norm": "l2", "random_start": True, "noises": 513}, "at most 512 noises, got 513"),
        ("catrs", {"lbd": -1.0}, "lbd"),
        ("catrs", {"eps256": -1.0}, "eps256"),
        ("catrs", {"steps": 0}, "steps"),
        ("catrs", {"noises": 1025, "batch": 2000}, "noises"),
        ("catrs", {"lr_extra_drop": {"epoch": -1}}, "epoch"),
        ("catrs", {"lr_extra_drop": {"epoch": 5}, "schedule": "one_cycle"}, "lr_extra_drop belongs to schedule step"),
    ],
)
def test_impossible_settings_are_refused(kind, fields, message):
    with pytest.raises(ValidationError, match=message):
        method(kind, **fields)


class Other(NoiseSpec):
    kind: str = "other"
    sigma: float = 0.5


def test_methods_that_need_gaussian_noise_refuse_another():
    for spec in (method("macer"), method("smoothadv", gradient_free=True)):
        assert spec.problems(GaussianNoise(sigma=0.5)) == []
        assert "other" in spec.problems(Other())[0]
        with pytest.raises(ValueError, match=f"method {spec.kind}: .*other"):
            train(spec, network(), *patterns(), noise=Other(), seed=0, quiet=True)
    assert method("smoothadv").problems(Other()) == []


def test_worst_case_noises_are_not_sought_where_there_is_no_noise():
    none = spec_class("noise", "none")()
    assert "set lbd to 0" in method("catrs").problems(none)[0]
    assert method("catrs", lbd=0.0).problems(none) == method("catrs").problems(GaussianNoise(sigma=0.5)) == []


def test_random_starts_of_many_copies_have_slots_enough():
    for norm, noises in (("l2", 512), ("linf", 1024)):
        spec = method("adversarial", norm=norm, random_start=True, noises=noises, steps=1)
        assert spec.loss(example())[0].isfinite()


def test_the_gaussian_under_another_name_is_gaussian_noise():
    for k, refused in ((0, 0), (10, 1)):
        law = spec_class("noise", "generalized_gaussian")(k=k, sigma=0.5)
        assert len(method("macer").problems(law)) == refused
        assert len(method("smoothadv", gradient_free=True).problems(law)) == refused


def test_training_refuses_noise_that_lacks_what_the_method_needs():
    with pytest.raises(
        ValueError, match="smoothadv needs noise that is additive and differentiable; noise of kind other is"
    ):
        train(method("smoothadv"), network(), *patterns(), noise=Other(), seed=0, quiet=True)
    with pytest.raises(ValueError, match="method gaussian: noise_warmup: noise of kind gaussian has no warm-up"):
        spec, noise = method("gaussian", noise_warmup=1, epochs=3), GaussianNoise(sigma=0.5)
        train(spec, network(), *patterns(), noise=noise, seed=0, quiet=True)


def test_missing_and_short_tables_are_refused():
    data = patterns(train=20)
    for tables, message in (
        ({}, r"catrs needs the tables \['predictions'\], got \[\]"),
        ({"predictions": np.ones((19, 10))}, "predictions: has 19 rows, the training split has 20 images"),
    ):
        with pytest.raises(ValueError, match=message):
            train(method("catrs"), network(), *data, noise=GaussianNoise(sigma=0.5), seed=0, quiet=True, tables=tables)
