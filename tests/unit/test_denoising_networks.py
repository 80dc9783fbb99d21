"""Denoising networks: the published sizes and names, identities at the start, homogeneity, padding, files of weights."""

import pytest
import torch
import torch.nn.functional as F

from certflow.data.base import DataInfo
from certflow.denoising import make_denoiser
from certflow.denoising.denoiser import Blind, LevelPlane
from certflow.denoising.kinds.dncnn import DnCNN as DnCNNSpec
from certflow.denoising.kinds.drunet import DRUNet as DRUNetSpec
from certflow.denoising.kinds.memnet import MemNet as MemNetSpec
from certflow.denoising.networks.dncnn import DnCNN
from certflow.denoising.networks.drunet import DRUNet
from certflow.denoising.networks.memnet import MemNet
from certflow.errors import ArtefactError

SMALL = {"widths": (4, 6, 8, 8), "blocks": 1}
COLOUR = DataInfo(classes=10, shape=(3, 12, 12))


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda: DnCNN(3), 558_400),
        (lambda: DnCNN(1), 556_096),
        (lambda: DnCNN(3, width=128), 2_222_720),
        (lambda: MemNet(3), 1_436_678),
        (lambda: DRUNet(3), 32_640_960),
        (lambda: DRUNet(1), 32_638_656),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(make, count):
    with torch.device("meta"):
        network = make()
    assert parameters(network) == count


def test_drunet_has_the_published_names_and_no_bias():
    with torch.device("meta"):
        state = DRUNet(3).state_dict()
    assert len(state) == 64 and all(key.endswith(".weight") for key in state)
    shapes = {
        "m_head.weight": [64, 4, 3, 3],
        "m_down1.3.res.2.weight": [64, 64, 3, 3],
        "m_down3.4.weight": [512, 256, 2, 2],
        "m_body.3.res.0.weight": [512, 512, 3, 3],
        "m_up3.0.weight": [512, 256, 2, 2],
        "m_up1.4.res.2.weight": [64, 64, 3, 3],
        "m_tail.weight": [3, 64, 3, 3],
    }
    assert {key: list(state[key].shape) for key in shapes} == shapes


def test_memnet_has_the_published_names():
    with torch.device("meta"):
        keys = set(MemNet(3).state_dict())
    assert {
        "feature_extractor.bn.weight",
        "dense_memory.2.recursive_unit.5.relu_conv2.conv.weight",
        "dense_memory.0.gate_unit.bn.running_var",
        "reconstructor.conv.weight",
    } <= keys


def test_a_fresh_dncnn_is_the_identity():
    torch.manual_seed(0)
    y = torch.randn(2, 3, 9, 11)
    assert torch.equal(DnCNN(3, depth=5, width=8).train()(y), y)


def test_memnet_follows_its_definition():
    torch.manual_seed(0)
    network, y = MemNet(2, width=4, memories=2, residuals=2).eval(), torch.randn(3, 2, 5, 6)

    def unit(u, x):
        x = F.batch_norm(x, u.bn.running_mean, u.bn.running_var, u.bn.weight, u.bn.bias, eps=u.bn.eps)
        return F.conv2d(F.relu(x), u.conv.weight, padding=u.conv.padding)

    with torch.no_grad():
        x = unit(network.feature_extractor, y)
        memories = [x]
        for block in network.dense_memory:
            short = []
            for residual in block.recursive_unit:
                x = x + unit(residual.relu_conv2, unit(residual.relu_conv1, x))
                short.append(x)
            x = unit(block.gate_unit, torch.cat(short + memories, 1))
            memories.append(x)
        torch.testing.assert_close(network(y), y + unit(network.reconstructor, x))


def test_drunet_is_homogeneous():
    torch.manual_seed(0)
    network, y = DRUNet(1, **SMALL), torch.randn(2, 1, 8, 8)
    one, two = (LevelPlane(network, condition, shape=(1, 8, 8), multiple=8) for condition in (0.25, 0.5))
    with torch.no_grad():
        assert torch.equal(two(2 * y), 2 * one(y))
        assert not torch.equal(one(y), two(y))


def test_sides_that_are_no_multiples_are_padded_and_cut_back():
    torch.manual_seed(0)
    network, y = DRUNet(1, **SMALL), torch.randn(2, 1, 28, 26)
    with torch.no_grad():
        found = LevelPlane(network, 0.3, shape=(1, 28, 26), multiple=8)(y)
        padded = F.pad(torch.cat([y, torch.full_like(y, 0.3)], 1), (0, 6, 0, 4), mode="replicate")
        assert torch.equal(found, network(padded)[:, :, :28, :26])


def test_every_row_may_be_told_its_own_level_in_training():
    torch.manual_seed(0)
    network, y = DRUNet(1, **SMALL).eval(), torch.randn(2, 1, 8, 8)
    free = LevelPlane(network, shape=(1, 8, 8), multiple=8)
    fixed = [LevelPlane(network, condition, shape=(1, 8, 8), multiple=8) for condition in (0.1, 0.9)]
    with torch.no_grad():
        found = free.at(y, torch.tensor([0.1, 0.9]))
        torch.testing.assert_close(found, torch.cat([fixed[0](y[:1]), fixed[1](y[1:])]))


def test_the_condition_is_fixed_for_good():
    denoiser = LevelPlane(DRUNet(1, **SMALL), 0.5, shape=(1, 8, 8), multiple=8)
    assert denoiser.condition == 0.5 and denoiser.condition_is_frozen
    with pytest.raises(AttributeError):
        denoiser.condition = 0.25
    free = LevelPlane(DRUNet(1, **SMALL), shape=(1, 8, 8), multiple=8)
    assert not free.condition_is_frozen
    with pytest.raises(ValueError, match="does not know for which noise level it is used"):
        free(torch.zeros(1, 1, 8, 8))
    blind = Blind(DnCNN(1, depth=3, width=2))
    assert blind.condition is None and blind.condition_is_frozen
    with pytest.raises(ValueError, match="takes no noise level"):
        Blind(DnCNN(1, depth=3, width=2), 0.5)
    with pytest.raises(ValueError, match="above 0"):
        LevelPlane(DRUNet(1, **SMALL), float("nan"), shape=(1, 8, 8))


SMALL_SPECS = {
    "dncnn": DnCNNSpec(depth=4, width=6),
    "memnet": MemNetSpec(width=4, memories=1, residuals=1),
    "drunet": DRUNetSpec(**SMALL),
}


@pytest.mark.parametrize("kind", sorted(SMALL_SPECS))
def test_weights_of_published_form_are_loaded(kind, tmp_path):
    """Wrapped for several devices, in half precision, in a container beside other things."""
    spec = SMALL_SPECS[kind]
    torch.manual_seed(1)
    source = spec.build(COLOUR, 0.5)
    state = {
        f"module.{key}": value.half() if value.is_floating_point() else value
        for key, value in source.network.state_dict().items()
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth.tar")
    torch.manual_seed(2)
    found, _ = spec.model_copy(update={"weights": str(tmp_path / "w.pth.tar")}).load_weights(COLOUR, 0.5)
    for key, value in found.network.state_dict().items():
        assert torch.equal(value, state[f"module.{key}"].to(value.dtype))


def test_weights_of_a_gray_denoiser_do_not_fit_colour(tmp_path):
    torch.save(DRUNet(1, **SMALL).state_dict(), tmp_path / "gray.pth")
    with pytest.raises(ArtefactError, match="m_head.weight is .*, needed"):
        DRUNetSpec(**SMALL, weights=str(tmp_path / "gray.pth")).load_weights(COLOUR, 0.1)


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(ArtefactError, match="refused"):
        DRUNetSpec(**SMALL, weights=str(tmp_path / "whole.pth")).load_weights(COLOUR, 0.1)


def test_one_call_makes_a_denoiser(tmp_path):
    torch.save(DRUNet(1, **SMALL).state_dict(), tmp_path / "gray.pth")
    options = {**SMALL, "weights": str(tmp_path / "gray.pth"), "sigma_range": (0.0, 0.5)}
    made = make_denoiser("drunet", (1, 8, 8), 0.25, **options)
    assert made.condition == 0.25 and not made.training
    assert torch.equal(
        made.network.m_tail.weight, torch.load(tmp_path / "gray.pth", weights_only=True)["m_tail.weight"]
    )
    with pytest.raises(ValueError, match="drunet: was trained for noise levels 0 to 0.5, not 1"):
        make_denoiser("drunet", (1, 8, 8), 1.0, **options)
    assert make_denoiser("dncnn", (1, 8, 8), 0.25, depth=3, width=2).condition is None
