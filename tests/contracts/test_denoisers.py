"""What every denoiser promises: one fixed function from a noisy image to a clean one of the same shape."""

import pytest
import torch
from catalogue import small

from certflow.data.base import DataInfo
from certflow.kinds.registry import kinds

KINDS = kinds("denoiser")
GREY, COLOUR = DataInfo(10, (1, 8, 8)), DataInfo(10, (3, 16, 16))


def made(kind, info, sigma=0.5):
    """The denoiser of the kind's example, with weights that are fresh but not trivial."""
    torch.manual_seed(2)
    spec = small("denoiser", kind)
    denoiser = spec.build(info, sigma if spec.takes_level else None)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return spec, denoiser.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("info", [GREY, COLOUR], ids=["grey", "colour"])
def test_it_gives_an_image_for_each_noisy_one(kind, info):
    spec, denoiser = made(kind, info)
    assert spec.problems(info) == [] and not spec.trained
    y = torch.rand(4, *info.shape) + 0.5 * torch.randn(4, *info.shape)
    with torch.inference_mode():
        whole, alone = denoiser(y), torch.cat([denoiser(row[None]) for row in y])
    assert whole.shape == y.shape and bool(whole.isfinite().all())
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is_told_is_settled_when_it_is_made(kind):
    spec, denoiser = made(kind, GREY)
    assert denoiser.takes_level == spec.takes_level and denoiser.condition_is_frozen
    assert denoiser.condition == (0.5 if spec.takes_level else None)
    y = torch.rand(4, *GREY.shape)
    with torch.inference_mode():
        same, other = denoiser.at(y, torch.full((4,), 0.5)), denoiser.at(y, torch.full((4,), 0.1))
        torch.testing.assert_close(same, denoiser(y), rtol=1e-4, atol=1e-4)
    assert torch.equal(same, other) != spec.takes_level
    if spec.takes_level:
        with pytest.raises(ValueError, match="noise level"):
            spec.build(GREY, None)(y)


@pytest.mark.parametrize("kind", KINDS)
def test_its_weights_load_into_a_second_one(kind):
    spec, denoiser = made(kind, GREY)
    again = spec.build(GREY, 0.5 if spec.takes_level else None).eval()
    again.load_state_dict(denoiser.state_dict())
    y = torch.rand(2, *GREY.shape)
    with torch.inference_mode():
        assert torch.equal(again(y), denoiser(y))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_over_a_range_of_levels(kind):
    _, denoiser = made(kind, GREY)
    x, noise = torch.rand(4, *GREY.shape), torch.randn(4, *GREY.shape)
    found, wanted = denoiser.train().compare(x, 0.3 * noise, torch.full((4,), 0.3))
    (found - wanted).square().mean().backward()
    grads = [p.grad for p in denoiser.parameters() if p.requires_grad]
    assert all(g is not None and bool(g.isfinite().all()) for g in grads) and any(bool(g.any()) for g in grads)
