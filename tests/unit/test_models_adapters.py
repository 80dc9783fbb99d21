"""Low-rank additions to attention: the published number of parameters, keys that stay, and plain weights in the end."""

import copy
import importlib
import inspect
import re

import pytest
import torch
from timm.models import create_model
from torch import nn

from certflow.models import adapters
from certflow.training.fast.adam import Adam
from certflow.training.layerwise import decays, layers, rates

DIM, RANK = 16, 2


def vit(**more) -> nn.Module:
    torch.manual_seed(0)
    sizes = {
        "img_size": 8,
        "patch_size": 4,
        "embed_dim": DIM,
        "depth": 2,
        "num_heads": 2,
        "num_classes": 5,
        "in_chans": 1,
    }
    return create_model("vit_tiny_patch16_224", **sizes, **more)


def adapted(rank: int = RANK) -> nn.Module:
    network = vit()
    adapters.add(network, rank)
    return network


def step(network, optimiser, x, y):
    optimiser.clear()
    nn.functional.cross_entropy(network(x), y).backward()
    optimiser.step(1e-2, 0.1)


def learning(network):
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_as_many_parameters_learn_as_are_published():
    """FT-CADIS states 916,456 for ViT-B and 1,000 classes at rank 4."""
    with torch.device("meta"):
        network = create_model("vit_base_patch16_224", num_classes=1000)
        adapters.add(network, 4)
    assert sum(parameter.numel() for parameter in learning(network).values()) == 916_456


def test_additions_begin_at_nothing():
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(adapted().eval()(x), vit().eval()(x), rtol=0, atol=1e-6)


def test_keys_and_everything_else_stay_and_merged_weights_are_the_same_function():
    network, before = adapted(), vit().state_dict()
    optimiser = Adam(learning(network).items(), decoupled=True)
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 5
    for _ in range(3):
        step(network, optimiser, x, y)
    network.eval()
    logits = network(x)
    adapters.merge(network)
    assert torch.equal(network(x), logits)
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        if name.endswith("qkv.weight"):
            query, key, value = tensor.chunk(3)
            was = before[name].chunk(3)
            assert torch.equal(key, was[1]) and not torch.equal(query, was[0]) and not torch.equal(value, was[2])
        else:
            assert torch.equal(tensor, before[name]) != name.startswith("head."), name


class ByHand(nn.Module):
    """Queries, keys and values of a layer with additions written out: x·(W + [B_q A_q; 0; B_v A_v])ᵀ + b."""

    def __init__(self, layer: nn.Linear, form: adapters.QueryValue):
        super().__init__()
        self.layer = layer
        pairs = {"q": form.query, "v": form.value}
        for name, pair in pairs.items():
            setattr(self, f"{name}a", nn.Parameter(pair.a.detach().clone()))
            setattr(self, f"{name}b", nn.Parameter(pair.b.detach().clone()))

    def forward(self, x):
        q, k, v = self.layer(x).chunk(3, -1)
        return torch.cat([q + x @ self.qa.T @ self.qb.T, k, v + x @ self.va.T @ self.vb.T], -1)


def test_three_steps_are_those_of_additions_by_hand():
    network, plain = adapted(), vit()
    plain.requires_grad_(False)
    plain.head.requires_grad_(True)
    for block, other in zip(network.blocks, plain.blocks, strict=True):
        other.attn.qkv = ByHand(other.attn.qkv, block.attn.qkv.parametrizations.weight[0])
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 5
    for one in (network, plain):
        optimiser = Adam(learning(one).items(), decoupled=True)
        for _ in range(3):
            step(one, optimiser, x, y)
    torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-5)


def test_additions_learn_at_the_rate_of_their_block():
    names = learning(adapted())
    found = layers(names)
    assert {found[name] for name in names if "blocks.0." in name} == {1}
    assert {found[name] for name in names if name.startswith("head.")} == {3}
    assert rates(names, 0.5)["head.weight"] == 1.0
    assert all(decays(name, parameter) for name, parameter in names.items() if "parametrizations" in name)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ValueError, match="no attention to adapt"):
        adapters.add(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 5)), 2)
    with pytest.raises(ValueError, match=f"rank must be at most the attention's width {DIM}, got {DIM + 1}"):
        adapters.add(vit(), DIM + 1)


@pytest.mark.parametrize(
    "name", ["maxvit_rmlp_pico_rw_256", "tiny_vit_5m_224", "efficientformer_l1", "gcvit_xxtiny", "csatv2"]
)
def test_attention_that_has_queries_and_values_elsewhere_is_refused(name):
    with torch.device("meta"):
        network = create_model(name, num_classes=5)
    with pytest.raises(ValueError, match=r"qkv \(timm\.models\.\w+\.\w+\) it is not known .* use mode full"):
        adapters.add(network, 1)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in adapters.IN_TURN.items() for name in names]
)
def test_attention_that_is_adapted_takes_queries_keys_and_values_in_turn(module, name):
    """As its code says: [..., 3, heads, width]; or thirds, which are then divided among heads."""
    pytest.importorskip(module.partition(".")[0])
    source = inspect.getsource(getattr(importlib.import_module(module), name).forward)
    shapes = re.findall(r"(?:reshape|view)\(([^()]*(?:\([^()]*\)[^()]*)*?)\)", source.replace("\n", " "))
    in_turn = [re.search(r"\b3, (?:self\.\w*heads|self\.groups),", shape) is not None for shape in shapes]
    assert any(in_turn) or ".qkv(x).chunk(3, dim=2)" in source
    assert "* 3" not in source


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("deit_tiny_distilled_patch16_224", {"head", "head_dist"}), ("volo_d1_224", {"head", "aux_head"})],
)
def test_every_head_learns(name, wanted):
    with torch.device("meta"):
        network = create_model(name, num_classes=10)
        adapters.add(network, 2)
    plain = {name for name in learning(network) if "parametrizations" not in name}
    assert {name.partition(".")[0] for name in plain} == wanted


def test_a_copy_learns_by_itself():
    network = adapted()
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.blocks[0].attn.qkv.parametrizations.weight[0].query.b.add_(1.0)
    x = torch.rand(2, 1, 8, 8)
    assert not torch.equal(network.eval()(x), other.eval()(x))
