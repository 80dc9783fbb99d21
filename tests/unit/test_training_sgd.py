"""Our SGD against torch's plain one, in every variant and layout."""

import pytest
import torch

from certflow.training.fast.sgd import Sgd


def conv_net() -> torch.nn.Module:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.AdaptiveAvgPool2d(1)
    )
    return net.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.01},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ],
)
def test_steps_are_those_of_torch(options):
    ours, theirs = conv_net(), conv_net()
    decay = options.get("weight_decay", 0.0)
    optimiser = Sgd(ours.named_parameters(), **{key: value for key, value in options.items() if key != "weight_decay"})
    reference = torch.optim.SGD(theirs.parameters(), lr=1.0, foreach=False, fused=False, **options)
    for step in range(6):
        x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        lr = 0.1 * 0.7**step
        for net in (ours, theirs):
            net(x).square().mean().backward()
        optimiser.step(lr, decay)
        optimiser.clear()
        reference.param_groups[0]["lr"] = lr
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert a.grad is None


def test_parameter_without_gradient_stays_and_may_start_later():
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimiser = Sgd({"first": first, "second": second}.items(), momentum=0.5)
    first.grad = torch.ones(2)
    optimiser.step(0.1, 0.1)
    torch.testing.assert_close(first.data, torch.full((2,), 0.89))
    assert torch.equal(second.data, torch.ones(2))
    optimiser.clear()
    first.grad = second.grad = torch.zeros(2)
    optimiser.step(0.1, 0.1)
    torch.testing.assert_close(second.data, torch.full((2,), 0.99))  # its first velocity is its first gradient
    torch.testing.assert_close(first.data, torch.full((2,), 0.89 - 0.1 * (0.5 * 1.1 + 0.1 * 0.89)))
