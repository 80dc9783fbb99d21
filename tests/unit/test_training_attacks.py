"""Attacks against loops over images and noises, their constraints, and what they must leave alone."""

import math

import pytest
import torch
from training_examples import network

from certflow.noise import Gaussian
from certflow.training import attacks, losses
from certflow.training.batch import Batch

IMAGES, NOISES, SIGMA = 6, 3, 0.25


class Linear(torch.nn.Module):
    """Logits ±w·x for two classes."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.sin(torch.arange(64.0)))

    def forward(self, x):
        score = x.flatten(1) @ self.w
        return torch.stack([score, -score], 1)


class Constant(torch.nn.Module):
    """The same logits for every image, connected to it by a vanishing gradient."""

    def forward(self, x):
        return 0 * x.flatten(1)[:, :10] + torch.arange(10.0)


def example(model=None, classes=10, seed=1):
    """Images with many pixels at 0 and 1, so that the box is active, and a network with used running statistics."""
    model = model or network(dropout=0)
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(IMAGES, 1, 8, 8, generator=generator) * 2 - 0.5).clamp(0, 1)
    with torch.no_grad():
        model.train()(x)
    return Batch(
        model=model,
        x=x,
        y=torch.arange(IMAGES) % classes,
        index=torch.arange(IMAGES),
        noise_spec=Gaussian(sigma=SIGMA),
        seed=seed,
    )


def predictions(batch, classes=10):
    """Smoothed predictions with zeros among them."""
    table = torch.rand(len(batch.y), classes, generator=torch.Generator().manual_seed(3))
    table[:, 4] = 0
    return table / table.sum(1, keepdim=True)


def mean_probability(batch, x, b, noise):
    """G(x)_y of image b alone, noise by noise."""
    return sum(batch.model(x + noise[i, b : b + 1]).softmax(1)[0, batch.y[b]] for i in range(len(noise))) / len(noise)


def ascent(batch, x, b, noise):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(-mean_probability(batch, x, b, noise).log(), x)[0]


def shrink(v, radius):
    return v * min(1.0, radius / v.norm().item())


def slow_pgd(batch, noise, epsilon, steps, clip_first, direction=ascent):
    rows = []
    for b in range(len(batch.y)):
        x = batch.x[b : b + 1]
        delta = torch.zeros_like(x)
        for _ in range(steps):
            g = direction(batch, x + delta, b, noise)
            delta = delta + 2 * epsilon / steps * g / g.norm()
            if clip_first:
                delta = shrink((x + delta).clamp(0, 1) - x, epsilon)
            else:
                delta = (x + shrink(delta, epsilon)).clamp(0, 1) - x
        rows.append(x + delta)
    return torch.cat(rows)


def slow_stein(batch, x, b, noise):
    with torch.no_grad():
        rows = [batch.model(x + n[b : b + 1]).softmax(1)[0, batch.y[b]] * n[b : b + 1] for n in noise]
    return -sum(rows) / len(noise)


def slow_smoothmix(batch, noise, alpha, steps, mix_step, radius, start_radius):
    starts, ends = [], []
    for b in range(len(batch.y)):
        x = start = found = batch.x[b : b + 1]
        for t in range(steps):
            start = found if t == mix_step else start
            g = ascent(batch, found, b, noise)
            found = found + alpha * g / g.norm()
            if radius is not None:
                found = x + shrink(found - x, radius)
            found = found.clamp(0, 1)
        difference = start - x
        starts.append((x + shrink(difference, start_radius) if difference.any() else x).clamp(0, 1))
        ends.append(found)
    return torch.cat(starts), torch.cat(ends)


def slow_kl(batch, noise, target, epsilon, steps):
    out = torch.empty_like(noise)
    for i in range(len(noise)):
        for b in range(len(batch.y)):
            begin = n = noise[i, b]
            mean, rms = begin.mean(), begin.square().mean().sqrt()
            p = target[b]
            for _ in range(steps):
                n = n.detach().requires_grad_()
                log_q = batch.model((batch.x[b] + n)[None]).log_softmax(1)[0]
                kl = sum(p[c] * (p[c].log() - log_q[c]) for c in range(len(p)) if p[c] > 0)
                (g,) = torch.autograd.grad(kl, n)
                n = begin + shrink(n.detach() + 2 * epsilon / steps * g / g.norm() - begin, epsilon)
                n = mean + rms * (n - n.mean()) / n.square().mean().sqrt()
            out[i, b] = n
    return out


def slow_ddn(batch, noise, epsilon, steps, gamma):
    rows = []
    for b in range(len(batch.y)):
        x = batch.x[b : b + 1]
        delta = best = torch.zeros_like(x)
        cap = best_norm = torch.maximum(x, 1 - x).norm().item()
        size = epsilon
        for t in range(steps):
            votes = [batch.model(x + delta + n[b : b + 1]).argmax().item() for n in noise]
            fooled = max(sorted(set(votes)), key=votes.count) != batch.y[b].item()
            if fooled and delta.norm().item() < best_norm:
                best, best_norm = delta, delta.norm().item()
            g = ascent(batch, x + delta, b, noise)
            delta = delta + (0.01 + 0.495 * (1 + math.cos(math.pi * (t + 1) / steps))) * g / g.norm()
            size = min(size * (1 - gamma if fooled else 1 + gamma), cap)
            point = ((x + delta * size / delta.norm()) * 255).round() / 255
            delta = point.clamp(0, 1) - x
        best = shrink(best, epsilon) if best.any() else best
        rows.append((x + (best * 255).round() / 255).clamp(0, 1))
    return torch.cat(rows)


ATTACKS = {
    "smoothadv_pgd": lambda b, n, e: attacks.smoothadv_pgd(b, n, epsilon=e, steps=4),
    "gradient_free": lambda b, n, e: attacks.smoothadv_pgd(b, n, epsilon=e, steps=4, gradient_free=True),
    "consistency_pgd": lambda b, n, e: attacks.consistency_pgd(b, n, epsilon=e, steps=4),
    "smoothmix": lambda b, n, e: attacks.smoothmix_ascent(
        b, n, alpha=e / 2, steps=4, mix_step=1, radius=e, start_radius=e
    )[1],
    "kl": lambda b, n, e: b.x + attacks.kl_attack(b, n, predictions(b), epsilon=e, steps=4) - n,
    "ddn": lambda b, n, e: attacks.smoothadv_ddn(b, n, epsilon=e, steps=6, gamma=0.05),
}
CLOSE = {"rtol": 1e-3, "atol": 2e-4}


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_pgd_equals_a_loop_over_images_and_noises(epsilon):
    batch = example()
    noise = batch.noise(NOISES)
    batch.model.eval()
    first = slow_pgd(batch, noise, epsilon, 4, clip_first=True)
    last = slow_pgd(batch, noise, epsilon, 4, clip_first=False)
    torch.testing.assert_close(attacks.smoothadv_pgd(batch, noise, epsilon=epsilon, steps=4), first, **CLOSE)
    torch.testing.assert_close(attacks.consistency_pgd(batch, noise, epsilon=epsilon, steps=4), last, **CLOSE)
    assert (first - last).abs().max() > 0.01  # the order of clipping and projecting matters where the box is active
    stein = slow_pgd(batch, noise, epsilon, 4, clip_first=True, direction=slow_stein)
    found = attacks.smoothadv_pgd(batch, noise, epsilon=epsilon, steps=4, gradient_free=True)
    torch.testing.assert_close(found, stein, **CLOSE)


@pytest.mark.parametrize(
    ("mix_step", "radius", "start"), [(0, None, 0.0), (1, None, 0.2), (2, 0.5, 9.0), (4, 0.5, 9.0)]
)
def test_smoothmix_ascent_equals_a_loop_over_images_and_noises(mix_step, radius, start):
    batch = example()
    noise = batch.noise(NOISES)
    batch.model.eval()
    slow = slow_smoothmix(batch, noise, 0.4, 4, mix_step, radius, start)
    found = attacks.smoothmix_ascent(
        batch, noise, alpha=0.4, steps=4, mix_step=mix_step, radius=radius, start_radius=start
    )
    torch.testing.assert_close(found, slow, **CLOSE)
    assert torch.equal(found[0], batch.x) == (mix_step in (0, 4))
    assert (attacks.norms(found[0] - batch.x) <= start * (1 + 1e-5)).all()


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_kl_attack_equals_a_loop_over_images_and_noises(epsilon):
    batch = example()
    noise, target = batch.noise(NOISES), predictions(batch)
    batch.model.eval()
    slow = slow_kl(batch, noise, target, epsilon, 3)
    found = attacks.kl_attack(batch, noise, target, epsilon=epsilon, steps=3)
    torch.testing.assert_close(found, slow, **CLOSE)
    before, after = (losses.kl_of_data(target, batch.forward(batch.x + n)) for n in (noise, found))
    assert (after > before).all()


def test_kl_attack_keeps_mean_and_scale_of_every_noise():
    batch = example()
    noise = batch.noise(NOISES)
    found = attacks.kl_attack(batch, noise, predictions(batch), epsilon=1.0, steps=4)
    mean, rms = (v.mean((2, 3, 4)) for v in (found, found**2))
    torch.testing.assert_close(mean, noise.mean((2, 3, 4)), rtol=0, atol=1e-6)
    # RMS² = s0² (1 − μ²/s²) + μ0², which differs from s0² by terms of μ²; means of 64 values are about σ/8.
    torch.testing.assert_close(rms.sqrt(), (noise**2).mean((2, 3, 4)).sqrt(), rtol=0.05, atol=0)
    centred = noise - noise.mean((2, 3, 4), keepdim=True)
    batch = example()
    found = attacks.kl_attack(batch, centred, predictions(batch), epsilon=1.0, steps=4)
    assert (attacks.norms(found - centred) <= 1.01).all()


def test_kl_attack_hardly_leaves_the_ball_on_images_of_usual_size():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    x = torch.rand(4, 1, 28, 28)
    batch = Batch(model=model, x=x, y=torch.arange(4), index=torch.arange(4), noise_spec=Gaussian(sigma=0.25), seed=0)
    noise = batch.noise(NOISES)
    found = attacks.kl_attack(batch, noise, predictions(batch), epsilon=1.0, steps=4)
    moved = attacks.norms(found - noise)
    assert (moved <= 1.001).all() and (moved > 0.5).all()
    torch.testing.assert_close(found.mean((2, 3, 4)), noise.mean((2, 3, 4)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_ddn_equals_a_loop_over_images_and_noises(epsilon):
    batch = example()
    batch = Batch(**{**vars(batch), "x": attacks.quantise(batch.x)})
    noise = batch.noise(NOISES)
    batch.model.eval()
    batch = Batch(**{**vars(batch), "y": attacks.majority(batch.forward(batch.x + noise))})
    slow = slow_ddn(batch, noise, epsilon, 6, 0.05)
    found = attacks.smoothadv_ddn(batch, noise, epsilon=epsilon, steps=6, gamma=0.05)
    # A rounding to 1/255 may fall either way where the two differ in the last bit.
    assert ((found - slow).abs() > 1e-4).double().mean() < 0.02
    assert (255 * found - (255 * found).round()).abs().max() < 1e-3
    if epsilon == 0.5:
        assert (found != batch.x).any()


def test_ddn_leaves_images_alone_that_are_wrong_already_or_never_fooled():
    batch = example()
    noise = batch.noise(NOISES)
    batch.model.eval()
    vote = attacks.majority(batch.forward(batch.x + noise))
    for y, epsilon in (((vote + 1) % 10, 0.5), (vote, 1e-6)):
        found = attacks.smoothadv_ddn(Batch(**{**vars(batch), "y": y}), noise, epsilon=epsilon, steps=4, gamma=0.05)
        torch.testing.assert_close(found, batch.x, rtol=0, atol=1e-6)


def test_majority_of_equals_is_the_smallest_class():
    logits = torch.eye(4)[torch.tensor([[3, 1, 2], [3, 2, 0], [1, 2, 0], [0, 1, 3]])]
    assert attacks.majority(logits).tolist() == [3, 1, 0]


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("name", ["smoothadv_pgd", "gradient_free", "consistency_pgd", "smoothmix"])
def test_attacked_images_lie_in_the_ball_and_in_the_box(name, epsilon):
    batch = example()
    found = ATTACKS[name](batch, batch.noise(NOISES), epsilon)
    assert (attacks.norms(found - batch.x) <= epsilon * (1 + 1e-5)).all()
    assert found.min() >= 0 and found.max() <= 1
    assert (attacks.norms(found - batch.x) > 0.05 * epsilon).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_no_radius_no_change(name):
    batch = example()
    found = ATTACKS[name](batch, batch.noise(NOISES), 0.0)
    torch.testing.assert_close(found, batch.x.expand_as(found), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["smoothadv_pgd", "consistency_pgd"])
def test_attack_of_a_linear_classifier_ascends_at_every_step(name):
    batch = example(Linear(), classes=2)
    batch = Batch(**{**vars(batch), "x": torch.full_like(batch.x, 0.5)})
    noise = batch.noise(1)
    attack = getattr(attacks, name)
    loss = []
    for steps in (1, 2, 3, 4):  # steps of the same length, 0.1, towards a ball that is not reached before the last
        found = attack(batch, noise, epsilon=0.05 * steps, steps=steps)
        loss.append(losses.smoothed_cross_entropy(batch.forward(found + noise), batch.y))
    assert (torch.stack(loss).diff(dim=0) > 0).all()


def test_vanished_gradients_move_by_a_normal_tensor_in_smoothadv_and_not_at_all_elsewhere():
    batch = example(Constant())
    noise = batch.noise(2)
    for name in ("consistency_pgd", "smoothmix"):
        assert torch.equal(ATTACKS[name](batch, noise, 0.5), batch.x)
    n = attacks.kl_attack(batch, noise, predictions(batch), epsilon=0.5, steps=4)
    torch.testing.assert_close(n, noise, rtol=0, atol=1e-6)
    found = attacks.smoothadv_pgd(batch, noise, epsilon=0.5, steps=1)
    expected = (batch.x + 2 * 0.5 * batch.normal(0)).clamp(0, 1) - batch.x
    torch.testing.assert_close(found, batch.x + attacks.project(expected, 0.5))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_leave_the_model_as_it_was(name):
    batch = example()
    model = batch.model
    model[4].eval()  # a part that is in another mode stays so
    model[5].bias.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    ATTACKS[name](batch, batch.noise(NOISES), 0.5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all((parameter.grad == 7).all() for parameter in model.parameters())
    assert [module.training for module in model.modules()] == modes and model.training
    assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]


def test_the_model_is_put_back_even_when_an_attack_fails():
    batch = example()
    with pytest.raises(RuntimeError):
        attacks.smoothadv_pgd(batch, torch.zeros(2, IMAGES, 1, 9, 9), epsilon=0.5, steps=2)
    assert batch.model.training and all(p.requires_grad for p in batch.model.parameters())


@pytest.mark.parametrize("name", ATTACKS)
def test_all_noises_go_through_the_network_in_one_pass_per_step(name):
    batch = example()
    rows = []
    batch.model.register_forward_pre_hook(lambda module, args: rows.append((module.training, len(args[0]))))
    ATTACKS[name](batch, batch.noise(NOISES), 0.5)
    assert rows == [(False, IMAGES * NOISES)] * (6 if name == "ddn" else 4)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_images_outside_the_box_are_refused(name, value):
    batch = example()
    batch.x[2, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"outside \[0,1\].*scale the images"):
        ATTACKS[name](batch, batch.noise(NOISES), 0.5)


def test_projection_shortens_long_rows_alone():
    rows = torch.zeros(2, 3, 1, 2, 2)
    rows[0, 0, 0, 0] = torch.tensor([3.0, 4.0])
    rows[1, 2, 0, 0] = torch.tensor([0.3, 0.4])
    found = attacks.project(rows, 2.5)
    assert found[0, 0, 0, 0].tolist() == pytest.approx([1.5, 2.0], rel=1e-6)
    assert torch.equal(found[1], rows[1]) and torch.equal(attacks.project(rows, 0.0), 0 * rows)
