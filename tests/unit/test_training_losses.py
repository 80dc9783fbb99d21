"""Losses as functions of logits, against golden values, direct sums and limits."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch.autograd import gradcheck

from certflow.training import losses
from certflow.training.kinds.consistency import Consistency

M = np.arange(4)[:, None, None]
PHASE = 3 * M + 5 * np.arange(3)[:, None] + 7 * np.arange(3)
LOGITS = torch.tensor(3 * np.sin(1 + PHASE))
OTHER = torch.tensor(3 * np.sin(1.7 + PHASE))
LABELS = torch.tensor([0, 1, 2])
SMOOTHED = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.5, 0.2], [0.0, 0.0, 1.0]], dtype=torch.float64)
Z, Z2, P = LOGITS.numpy(), OTHER.numpy(), SMOOTHED.numpy()


def softmax(z):
    """Of one vector of logits."""
    return np.exp(z) / np.exp(z).sum()


def divergence(p, q):
    """KL(p ‖ q) of two vectors, 0·log 0 = 0."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def means(z):
    """p̄ of each image, from logits [m, images, classes]."""
    return np.array([np.mean([softmax(z[i, b]) for i in range(len(z))], axis=0) for b in range(z.shape[1])])


def golden(value):
    return pytest.approx(value, abs=2e-12)


def test_cross_entropy_has_the_golden_mean():
    assert losses.cross_entropy(LOGITS, LABELS).mean().item() == golden(1.468190300000)


def test_cross_entropy_pairs_every_noise_with_the_label_of_its_image():
    direct = [[-math.log(softmax(Z[m, b])[LABELS[b]]) for b in range(3)] for m in range(4)]
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS).numpy(), direct, rtol=1e-12)


def test_accuracy_counts_every_noisy_copy():
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 2, 3] = 1  # all right
    logits[1, 0, 1] = logits[1, 1, 0] = logits[1, 2, 0] = 1  # one of three right
    assert losses.accuracy(logits, torch.tensor([1, 2, 3])).item() == pytest.approx(4 / 6)


def test_consistency_has_the_golden_values():
    assert losses.consistency_kl(LOGITS).mean().item() == golden(0.500750957104)
    assert losses.entropy(LOGITS).mean().item() == golden(1.054945602529)
    assert Consistency(lbd=10, eta=0.5).regulariser(LOGITS).mean().item() == golden(5.534982372305)
    dsrs = Consistency(lbd=1, form="xent", entropy_form="double_softmax")
    assert dsrs.regulariser(LOGITS).mean().item() == golden(1.595235777638)


def test_stability_has_the_golden_values():
    clean, noisy = LOGITS[0], LOGITS[1:2]
    assert losses.cross_entropy(clean[None], LABELS).mean().item() == golden(1.017336589986)
    assert losses.stability(clean, noisy).mean().item() == golden(2.390148368628)


@pytest.mark.parametrize(
    ("beta", "gamma", "value"), [(16, 8, 0.617474952124), (1, 8, 1.294475733616), (1, 0.5, 0.044475733616)]
)
def test_macer_has_the_golden_values(beta, gamma, value):
    assert losses.macer_cross_entropy(LOGITS, LABELS).mean().item() == golden(1.270111947533)
    hinge = losses.macer_hinge(LOGITS, LABELS, beta=beta, gamma=gamma)
    assert 0.5 / 2 * hinge.mean().item() == golden(value)


def test_catrs_has_the_golden_values():
    values = losses.cross_entropy(LOGITS, LABELS)
    low = losses.bottom_k(values, torch.tensor([1, 2, 4]))
    high = losses.kl_of_data(SMOOTHED, OTHER).amax(0)
    assert low.tolist() == golden([0.121208921389, 0.927328849079, 1.329219431029])
    assert high.tolist() == golden([2.368874963157, 0.730052517722, 3.966659331596])
    assert (low + 2 * high * torch.tensor([0, 0, 1])).mean().item() == golden(3.437025288230)
    full = losses.bottom_k(values, torch.tensor([4, 4, 4]))
    assert (full + 2 * high).mean().item() == golden(6.178581508316)
    assert (LOGITS.argmax(-1) == LABELS).double().mean(0).tolist() == [0.25, 0, 0.5]


R = torch.tensor([[0.1], [0.3], [0.5]], dtype=torch.float64)


def test_smoothmix_has_the_golden_value():
    assert losses.smoothmix(LOGITS, OTHER, LABELS, R).mean().item() == golden(0.443412293857)


def test_losses_equal_loops_over_noises_and_images():
    mean = means(Z)
    pairs = [(i, b) for i in range(4) for b in range(3)]

    def table(value):
        return np.array([[value(i, b) for b in range(3)] for i in range(4)])

    close = np.testing.assert_allclose
    close(losses.log_mean_probabilities(LOGITS).exp(), mean, rtol=1e-12)
    close(losses.smoothed_cross_entropy(LOGITS, LABELS), [-math.log(mean[b, LABELS[b]]) for b in range(3)], rtol=1e-12)
    close(losses.kl_of_data(SMOOTHED, LOGITS), table(lambda i, b: divergence(P[b], softmax(Z[i, b]))), rtol=1e-12)
    close(
        losses.consistency_kl(LOGITS),
        np.mean([[divergence(mean[b], softmax(Z[i, b])) for b in range(3)] for i in range(4)], axis=0),
        rtol=1e-12,
    )
    close(losses.entropy(LOGITS), [-(mean[b] * np.log(mean[b])).sum() for b in range(3)], rtol=1e-12)
    cross = table(lambda i, b: -(softmax(Z[0, b]) * np.log(softmax(Z2[i, b]))).sum())
    close(losses.stability(LOGITS[0], OTHER), cross, rtol=1e-12)
    r = R[:, 0].numpy()
    for i, b in pairs:
        target = (1 - r[b]) * mean[b] + r[b] / 3
        direct = divergence(target, softmax(Z2[i, b])) if mean[b].argmax() == LABELS[b] else 0
        assert losses.smoothmix(LOGITS, OTHER, LABELS, R)[i, b].item() == pytest.approx(direct, rel=1e-12)
    difference = ((means(Z[1:2]) - means(Z[:1])) ** 2).sum(1)
    close(losses.squared_difference(LOGITS[:2]), difference, rtol=1e-12)


def test_macer_hinge_equals_a_loop_over_images():
    for beta, gamma in ((1, 8), (16, 8), (1, 0.5), (0.3, 0.4)):
        q = means(beta * Z)
        direct = []
        for b in range(3):
            second, first = np.sort(q[b])[-2:]
            margin = ndtri(first) - ndtri(second)
            direct.append(gamma - margin if q[b].argmax() == LABELS[b] and margin <= gamma else 0)
        found = losses.macer_hinge(LOGITS, LABELS, beta=beta, gamma=gamma)
        np.testing.assert_allclose(found, direct, rtol=1e-10, atol=1e-12)


def test_noise_major_logits_read_as_image_major_give_other_values():
    """The golden values tell the two layouts of [m, images] apart: rows paired with wrong labels do not pass them."""
    wrong = LOGITS.flatten(0, 1).unflatten(0, (3, 4)).transpose(0, 1)
    assert losses.cross_entropy(wrong, LABELS).mean().item() != pytest.approx(1.468190300000, abs=0.05)
    assert losses.consistency_kl(wrong).mean().item() != pytest.approx(0.500750957104, abs=0.05)
    assert losses.macer_cross_entropy(wrong, LABELS).mean().item() != pytest.approx(1.270111947533, abs=0.05)
    assert losses.smoothmix(wrong, OTHER, LABELS, R).mean().item() != pytest.approx(0.443412293857, abs=0.05)
    low = losses.bottom_k(losses.cross_entropy(wrong, LABELS), torch.tensor([1, 2, 4]))
    assert low.tolist() != pytest.approx([0.121208921389, 0.927328849079, 1.329219431029], abs=0.05)


DIFFERENTIABLE = {
    "cross_entropy": lambda z: losses.cross_entropy(z, LABELS),
    "smoothed_cross_entropy": lambda z: losses.smoothed_cross_entropy(z, LABELS),
    "kl_of_data": lambda z: losses.kl_of_data(SMOOTHED, z),
    "stability": lambda z: losses.stability(z[0], z[1:]),
    "consistency_kl": losses.consistency_kl,
    "entropy": losses.entropy,
    "double_softmax_entropy": losses.double_softmax_entropy,
    "squared_difference": lambda z: losses.squared_difference(z[:2]),
    "macer_cross_entropy": lambda z: losses.macer_cross_entropy(z, LABELS),
    "macer_hinge": lambda z: losses.macer_hinge(z, LABELS, beta=1.0, gamma=8.0),
    "bottom_k": lambda z: losses.bottom_k(losses.cross_entropy(z, LABELS), torch.tensor([1, 2, 4])),
    "smoothmix": lambda z: losses.smoothmix(z, z.flip(0) * 0.7, LABELS, R),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_equal_finite_differences(name):
    assert gradcheck(DIFFERENTIABLE[name], LOGITS.clone().requires_grad_())


def test_divergence_vanishes_for_one_noise_and_for_equal_noises():
    assert losses.consistency_kl(LOGITS[:1]).abs().max() < 1e-15
    assert losses.consistency_kl(LOGITS[:1].expand(5, 3, 3)).abs().max() < 1e-15


def test_stability_of_equal_predictions_is_their_entropy():
    clean = LOGITS[0]
    torch.testing.assert_close(losses.stability(clean, clean[None])[0], losses.entropy(clean[None]))


def test_divergence_from_a_one_hot_target_is_the_cross_entropy():
    one_hot = torch.eye(3, dtype=torch.float64)
    logits = LOGITS.clone().requires_grad_()
    found = losses.kl_of_data(one_hot, logits)
    torch.testing.assert_close(found, losses.cross_entropy(logits, LABELS))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.isfinite().all() and gradient.abs().max() > 0.1


@pytest.mark.parametrize("scale", [1.0, 200.0, 1e4])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_losses_and_gradients_stay_finite_in_float32_where_probabilities_underflow(name, scale):
    logits = (scale * LOGITS).float().requires_grad_()
    value = DIFFERENTIABLE[name](logits).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and gradient.isfinite().all()


def test_macer_hinge_of_wrong_and_of_safe_images_is_zero_with_finite_gradient():
    wrong = torch.tensor([1, 2, 0])
    safe = torch.zeros(2, 3, 3).scatter(2, LABELS.expand(2, 3)[..., None], 1000.0)
    for logits, labels in ((LOGITS * 0.1, LOGITS.mean(0).argmin(1)), (safe, LABELS), (safe, wrong)):
        leaf = logits.clone().requires_grad_()
        hinge = losses.macer_hinge(leaf, labels, beta=16.0, gamma=8.0)
        (gradient,) = torch.autograd.grad(hinge.sum(), leaf)
        assert hinge.tolist() == [0, 0, 0] and not gradient.any() and gradient.isfinite().all()


def test_macer_hinge_falls_with_confidence_and_keeps_margins_that_float32_would_lose():
    gap = torch.linspace(0.1, 12, 40, dtype=torch.float64)
    logits = torch.stack([gap, torch.zeros_like(gap), torch.full_like(gap, -50.0)], 1)[None]
    hinge = losses.macer_hinge(logits, torch.zeros(40, dtype=torch.int64), beta=1.0, gamma=9.0)
    assert (hinge.diff() < 0).all() and hinge[0] > 8.8 and 0 < hinge[-1] < 1.0
    q = 1 / (1 + np.exp(-gap.numpy()))
    np.testing.assert_allclose(hinge, 9 - 2 * ndtri(q), rtol=1e-9)


def test_double_softmax_entropy_is_almost_constant():
    for classes, low, high in ((10, 2.229, 2.3026), (100, 4.595, 4.6052)):
        for scale in (0, 1, 100):
            logits = scale * torch.sin(torch.arange(6.0 * classes)).view(2, 3, classes)
            value = losses.double_softmax_entropy(logits)
            assert (value >= low).all() and (value <= high).all()


def test_bottom_k_keeps_the_smallest_and_divides_by_the_number_of_noises():
    values = torch.tensor([[4.0, 1.0], [3.0, math.inf], [1.0, 2.0], [2.0, 5.0]])
    assert losses.bottom_k(values, torch.tensor([2, 3])).tolist() == [(1 + 2) / 4, (1 + 2 + 5) / 4]
    assert losses.bottom_k(values[:, :1], torch.tensor([4])).item() == values[:, 0].mean()
