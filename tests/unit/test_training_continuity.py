"""The regulariser as a function: its value, its gradients, the law of its layers, the course of its weight."""

import numpy as np
import pytest
import torch

from certflow import knowledge
from certflow.training import continuity


def sample(rows=12, dim=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator, dtype=dtype), torch.rand(rows, generator=generator, dtype=dtype)


@pytest.mark.parametrize("distance", ["l1", "l2", "linf", "cosine"])
@pytest.mark.parametrize("rows", [12, 80])
def test_it_is_the_volatility_of_the_batch(distance, rows):
    z, losses = sample(rows)
    found = continuity.penalty(z, losses, stabiliser=0.1, distance=distance)
    assert float(found) == pytest.approx(knowledge.volatility(z, losses, distance, 0.1).value, rel=1e-7)
    peer = continuity.penalty(z, losses, stabiliser=0.1, distance=distance, pair_sum="peer")
    assert float(peer) == pytest.approx(float(found) * (rows - 1))


def test_in_units_of_the_mean_distance_growing_does_not_help():
    z, losses = sample()
    base = knowledge.volatility(z, losses)
    found = [float(continuity.penalty(scale * z, losses, stabiliser=0.1, normalise=True)) for scale in (1.0, 50.0)]
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(knowledge.volatility(z, losses, "l2", 0.1, unit=base.mean_distance).value)
    z.requires_grad_()
    continuity.penalty(z, losses, stabiliser=0.1, normalise=True).backward()
    growth = (z.grad * z.detach()).sum()  # the derivative along all representations growing alike
    assert abs(float(growth)) < 1e-6 * float(z.grad.norm() * z.detach().norm()) and z.grad.abs().sum() > 0


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_gradients(distance):
    z, losses = (value.requires_grad_() for value in sample(6))
    torch.autograd.gradcheck(lambda a, b: continuity.penalty(a, b, stabiliser=0.05, distance=distance), (z, losses))


@pytest.mark.parametrize("rows", [12, 80])
def test_equal_rows_have_finite_gradients(rows):
    z, losses = sample(rows, dtype=torch.float32)
    z[1], z[2] = z[0], z[0]
    z.requires_grad_()
    losses.requires_grad_()
    continuity.penalty(z, losses, stabiliser=0.01).backward()
    assert z.grad.isfinite().all() and losses.grad.isfinite().all()
    same = torch.ones(12, 3, requires_grad=True)
    continuity.penalty(same, losses[:12], stabiliser=0.01).backward()
    assert (same.grad == 0).all()


def test_what_is_detached_gets_no_gradient():
    for detach, moved in (("none", (True, True)), ("z", (False, True)), ("loss", (True, False))):
        z, losses = (value.requires_grad_() for value in sample())
        continuity.penalty(z, losses, stabiliser=0.01, detach=detach).backward()
        assert (z.grad is not None, losses.grad is not None) == moved


def test_one_row_has_no_pair_and_a_constant_loss_no_penalty():
    z, losses = (value.requires_grad_() for value in sample(1))
    found = continuity.penalty(z, losses, stabiliser=0.01)
    found.backward()
    assert found.item() == 0 and z.grad.abs().sum().item() == 0
    assert float(continuity.penalty(sample()[0], torch.ones(12, dtype=torch.float64), stabiliser=0.01)) == 0
    with pytest.raises(ValueError, match="stabiliser"):
        continuity.penalty(*sample(), stabiliser=0.0)


@pytest.mark.parametrize(
    ("beta", "table"),
    [
        (1, [.0059, .0178, .0296, .0414, .0533, .0651, .0769, .0888, .1006, .1124, .1243, .1361, .1479]),
        (2, [.0168, .0469, .0715, .0906, .1042, .1124, .1152, .1124, .1042, .0906, .0715, .0469, .0168]),
    ],
)  # fmt: skip
def test_layers_are_sampled_by_their_beta_law(beta, table):
    u = (np.arange(20_000) + 0.5) / 20_000
    drawn = np.bincount([continuity.sampled_layer(value, 2, beta, 13) for value in u], minlength=13) / 20_000
    assert drawn == pytest.approx(table, abs=1.6e-4)
    assert continuity.sampled_layer(1.0, 2, beta, 13) == 12 and continuity.sampled_layer(1e-9, 2, beta, 13) == 0


def test_the_weight_rises_after_the_warm_up():
    found = [continuity.weight(8.0, epoch, 20, warmup=0.5, ramp=0.25) for epoch in range(20)]
    assert found[:10] == [0.0] * 10 and found[10:16] == pytest.approx([1.6, 3.2, 4.8, 6.4, 8.0, 8.0])
    assert [continuity.weight(8.0, epoch, 4, warmup=0.0, ramp=0.0) for epoch in range(4)] == [8.0] * 4
    assert [continuity.weight(8.0, epoch, 5, warmup=0.5, ramp=0.0) for epoch in range(5)] == [0, 0, 0, 8, 8]
    assert 0.28 * 50 > 14, "a product that is whole but for its rounding"
    assert [continuity.weight(8.0, epoch, 50, warmup=0.28, ramp=0.0) for epoch in (13, 14)] == [0, 8]
    assert continuity.weight(8.0, 0, 1, warmup=0.5, ramp=0.0) == 0, (
        "an epoch that the warm-up reaches into is left alone"
    )


@pytest.mark.parametrize(
    ("share", "ce", "before", "found"),
    [
        (0.91, 2.1, None, True), (0.89, 2.0, None, False), (0.35, 0.8, 0.2, True), (0.35, 0.8, 0.3, False),
        (0.1, 0.23, 0.02, False),
    ],
)  # fmt: skip
def test_collapse(share, ce, before, found):
    assert continuity.collapse(share, ce, before) is found
