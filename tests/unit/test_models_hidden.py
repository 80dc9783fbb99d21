"""Hidden layers by name, in order, from one pass; their outputs are those of the network cut off behind them."""

import numpy as np
import pytest
import torch
from models_examples import CIFAR, DIGITS, IMAGENET, MNIST, images, randomise, spec
from torch import nn

from certflow.knowledge.features import extract
from certflow.models import build
from certflow.models.hidden import captured, hidden_layers, reduced

NETWORKS = {
    "lenet": (MNIST, {}, ["conv1", "conv2", "fc1"]),
    "small_conv": (DIGITS, {}, ["conv1", "conv2", "fc1"]),
    "mnist_43": (MNIST, {}, ["0", "2", "4", "6", "9", "11"]),
    "cifar_resnet": (CIFAR, {"depth": 20}, ["conv1", "layer1", "layer2", "layer3", "avgpool"]),
    "wide_resnet": (CIFAR, {"depth": 10, "width": 1}, ["conv1", "block1", "block2", "block3", "avgpool"]),
    "timm": (IMAGENET, {"name": "resnet10t"}, ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "global_pool"]),
}  # fmt: skip


class Cut(Exception):
    pass


def cut_off(network, name, x):
    """What the module `name` gives when the network stops behind it, before anything may write over it."""
    found = []

    def stop(module, given, output):
        found.append(output.clone())
        raise Cut

    handle = network.get_submodule(name).register_forward_hook(stop)
    with torch.no_grad(), pytest.raises(Cut):
        network(x)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("kind", NETWORKS)
def test_stages_of_every_network_and_their_features(kind):
    info, fields, names = NETWORKS[kind]
    network = randomise(build(spec(kind, **fields), info))
    x, y = images(5, info.shape), torch.arange(5)
    with torch.no_grad():
        before = network(x)
    found = extract(network, [(x[:3], y[:3]), (x[3:], y[3:])])
    assert found.layers == ["input", *(f"1.{name}" for name in names), "logits"]
    assert np.allclose(found.logits, before.numpy(), atol=1e-5) and found.labels.tolist() == list(range(5))
    for name in found.layers[1:-1]:
        whole = cut_off(network, name, x)
        pooled = whole if whole.dim() == 2 else whole.mean((2, 3))
        assert np.allclose(found.z[name], pooled.numpy(), rtol=1e-4, atol=1e-5), name
    assert (found.depth("input"), found.depth("logits")) == (0, 1)
    assert not any(module._forward_hooks for module in network.modules())


def test_blocks_are_the_members_of_stages():
    network = build(spec("cifar_resnet", depth=20), CIFAR)
    names = hidden_layers(network, images(1, CIFAR.shape), "blocks")
    assert names[0] == "1.conv1" and names[1:-1] == [f"1.layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)]
    wide = build(spec("wide_resnet", depth=16, width=1), CIFAR)
    assert "1.block2.layer.1" in hidden_layers(wide, images(1, CIFAR.shape), "blocks")


def test_looking_for_layers_changes_nothing_of_the_network():
    network = build(spec("small_conv"), DIGITS).train()
    network[1].bn1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    hidden_layers(network, images(1, DIGITS.shape))
    assert network.training and not network[1].bn1.training and network[1].bn2.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


class Tokens(nn.Module):
    """Embedding, two layers that answer with tuples, and a head on the first token."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.layers = nn.Sequential(*(Twice() for _ in range(2)))
        self.norm = nn.LayerNorm(6)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.act(self.norm(self.layers(self.embedding(x))[0])[:, 0]))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        x = x[0] if isinstance(x, tuple) else x
        return self.inner(x), x


def test_tokens_are_averaged_without_padding():
    torch.manual_seed(0)
    network, x = Tokens(), torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])
    found = extract(network, [(x, torch.zeros(2))], "blocks", mask=lambda rows: rows > 0)
    assert found.layers == ["embedding", "layers.0", "layers.1", "logits"], "ids are no coordinates"
    embedded = network.embedding(x).detach()
    assert np.allclose(found.z["embedding"][0], embedded[0, :2].mean(0)), "padding does not count"
    assert np.allclose(found.z["embedding"][1], embedded[1].mean(0))
    first = extract(network, [(x, torch.zeros(2))], ["layers.1"], "cls")
    assert np.allclose(
        first.z["layers.1"], network.layers[1](network.layers[0](network.embedding(x)))[0][:, 0].detach()
    )


def test_features_are_of_float32_whatever_the_caller_has_set():
    network, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), images(6, (4,))
    seen = []
    network[0].register_forward_hook(lambda *given: seen.append(torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = extract(network, [(x, torch.zeros(6))])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.no_grad():
        assert np.array_equal(found.logits, network(x).numpy())
    assert set(seen) == {"highest"}


def test_outputs_are_taken_before_they_are_written_over():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = images(6, (4,))
    with captured(network, ["0"]) as found:
        network(x)
    assert torch.equal(found["0"], network[0](x)) and (found["0"] < 0).any()


def test_reductions():
    maps, tokens = images(2, (3, 4, 5)), images(2, (7, 3))
    assert torch.allclose(reduced(maps), maps.mean((2, 3)))
    assert reduced(maps, "flatten").shape == (2, 60) and reduced(maps.double()).dtype == torch.float32
    assert torch.equal(reduced(tokens, "cls"), tokens[:, 0]) and torch.equal(reduced(tokens[:, 0]), tokens[:, 0])
    with pytest.raises(ValueError, match="cls takes the first token"):
        reduced(maps, "cls")


def test_gradients_flow_through_what_is_captured():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with captured(network, ["1"]) as found:
        network(images(6, (4,)))
    found["1"].sum().backward()
    assert network[0].weight.grad.abs().sum() > 0 and network[2].weight.grad is None


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu, self.first, self.last, self.idle = nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(1, 1)

    def forward(self, x):
        return self.last(self.relu(self.first(self.relu(x))))


class Places(nn.Module):
    """What is added to every token, as a row of its own."""

    def __init__(self):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(1, 4, 4))

    def forward(self):
        return self.vectors


class Placed(nn.Module):
    def __init__(self):
        super().__init__()
        self.places, self.first, self.last = Places(), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.first(x[:, None] + self.places()).mean(1))


def test_what_is_the_same_for_all_rows_is_no_layer():
    assert hidden_layers(Placed(), images(1, (4,))) == ["first"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere"], "no module 'nowhere'; there are relu, first, last, idle"),
        (["relu"], "relu answers 2 times in a pass"),
        (["idle"], "idle answers 0 times in a pass"),
    ],
)
def test_layers_that_cannot_be_used_are_named(names, message):
    with pytest.raises(ValueError, match=message):
        hidden_layers(Shared(), images(1, (4,)), names)


def test_a_network_without_hidden_layers_is_told():
    with pytest.raises(ValueError, match="no hidden layer"):
        hidden_layers(nn.Sequential(nn.Linear(4, 2)), images(1, (4,)))
    assert hidden_layers(Shared(), images(1, (4,))) == ["first"]
