"""Fused kernels: the same bits where they apply, and left alone where they do not."""

import operator
import resource

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.machine.memory import keep_freed_memory
from certflow.models import build
from certflow.models.base import Inference
from certflow.models.fast.folding import fold
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast import fusing
from certflow.sampling.fast.fusing import FusedConv2d, PairwiseMaxPool2d, fuse

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")

CIFAR = DataInfo(10, (3, 32, 32), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
MNIST = DataInfo(10, (1, 28, 28))
DIGITS = DataInfo(10, (1, 8, 8))


def parts(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in network.modules())


def batch(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def outputs(network: nn.Module, *shape: int) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return network(x.contiguous(memory_format=torch.channels_last))


def channels_last(network: nn.Module) -> nn.Module:
    return network.eval().to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("kind", "info"), [("cifar_resnet", CIFAR), ("lenet", MNIST), ("small_conv", DIGITS)])
def test_fused_networks_give_the_same_bits(kind, info):
    fields = {"depth": 20} if kind == "cifar_resnet" else {}
    network = channels_last(fold(build(spec_class("model", kind)(**fields), info)).network)
    fused = fuse(network, batch(8, *info.shape))
    assert fused is not None
    for rows in (8, 33):
        assert torch.equal(outputs(channels_last(fused), rows, *info.shape), outputs(network, rows, *info.shape))


@pytest.mark.parametrize("short", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_no_reason_to_leave_a_network_unfused(short, monkeypatch):
    """It would be sampled with other last bits than on a larger machine."""

    def fails(*arguments):
        raise short

    monkeypatch.setattr(fusing, "trace", fails)
    with pytest.raises(type(short)):
        fuse(nn.Conv2d(1, 1, 3), batch(8, *DIGITS.shape))


def test_a_residual_network_becomes_fused_convolutions_alone():
    network = fold(build(spec_class("model", "cifar_resnet")(depth=20), CIFAR)).network
    fused = fuse(network, batch(8, *CIFAR.shape))
    assert parts(fused, FusedConv2d) == 19  # 9 blocks of two and the first; projections have nothing after them
    assert parts(fused, nn.Conv2d) == 2
    assert not any(node.target in (operator.add, F.relu) for node in fused.graph.nodes)


def relu_of(x, weight, bias, stride, padding, dilation, groups):
    return F.relu(F.conv2d(x, weight, bias, stride, padding, dilation, groups))


def relu_of_sum(x, weight, other, alpha, bias, stride, padding, dilation, groups):
    return F.relu(F.conv2d(x, weight, bias, stride, padding, dilation, groups) + alpha * other)


@pytest.fixture
def gpu_kernels(monkeypatch):
    """What cuDNN's kernels compute, by torch's operations, which every device has."""
    monkeypatch.setattr(torch, "cudnn_convolution_relu", relu_of)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", relu_of_sum)


@pytest.mark.parametrize(
    "model", [{"kind": "cifar_resnet", "depth": 20}, {"kind": "wide_resnet", "depth": 10, "width": 2}]
)
def test_the_kernels_of_a_gpu_are_put_where_they_compute_the_same(model, gpu_kernels):
    network = fold(build(spec_class("model", model["kind"])(**model), CIFAR)).network.eval()
    fused = fusing._rewritten(network, batch(8, *CIFAR.shape), on_cpu=False)
    assert fused is not None and parts(fused, fusing.CudnnConv2d) > 0 and parts(fused, FusedConv2d) == 0
    for rows in (8, 33):
        x = torch.randn(rows, *CIFAR.shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            assert torch.equal(fused(x), network(x))


def test_a_gpu_fuses_all_of_a_residual_network(gpu_kernels):
    network = fold(build(spec_class("model", "cifar_resnet")(depth=20), CIFAR)).network
    fused = fusing._rewritten(network, batch(8, *CIFAR.shape), on_cpu=False)
    assert parts(fused, fusing.CudnnConv2d) == 19
    assert parts(fused, nn.Conv2d) == 2  # projections have nothing after them


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "fits"),
    [(8, 24, 1, True), (3, 8, 1, True), (8, 20, 1, False), (12, 8, 1, False), (16, 16, 2, False)],
)
def test_a_gpu_takes_channels_by_eights_or_those_of_an_image(inputs, outputs, groups, fits, gpu_kernels):
    network = nn.Sequential(nn.Conv2d(inputs, outputs, 3, groups=groups), nn.ReLU()).eval()
    assert (fusing._rewritten(network, batch(8, inputs, 6, 6), on_cpu=False) is not None) == fits


def test_a_gpu_fuses_no_convolution_without_a_relu(gpu_kernels):
    assert fusing._rewritten(nn.Sequential(nn.Conv2d(8, 24, 3)), batch(8, 8, 6, 6), on_cpu=False) is None


@pytest.mark.parametrize(("order", "kernels"), [([nn.MaxPool2d(2), nn.ReLU()], 0), ([nn.ReLU(), nn.MaxPool2d(2)], 1)])
def test_a_gpu_pools_pair_by_pair_behind_its_kernel(order, kernels, gpu_kernels):
    network, x = nn.Sequential(nn.Conv2d(8, 24, 3), *order).eval(), batch(8, 8, 6, 6)
    fused = fusing._rewritten(network, x, on_cpu=False)
    assert parts(fused, fusing.CudnnConv2d) == kernels and parts(fused, PairwiseMaxPool2d) == 1
    with torch.inference_mode():
        assert torch.equal(fused(x), network(x))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3)])
def test_pairwise_pooling_equals_max_pooling(size):
    x = torch.randn(4, 5, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PairwiseMaxPool2d()(x), F.max_pool2d(x, 2))


class Net(nn.Module):
    """Two convolutions, put together by a function given as `how`."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head, self.how = nn.Linear(3 * 36, 4), how

    def forward(self, x):
        return self.head(self.how(self, x).flatten(1))


WRITES = [
    lambda hidden: F.relu(hidden, inplace=True),
    lambda hidden: hidden.relu_(),
    lambda hidden: torch.sigmoid(hidden, out=hidden),
    nn.ReLU(inplace=True),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_convolution_is_not_moved_behind_what_overwrites_its_input(write):
    def overwritten(net, x):
        hidden = net.a(x)
        later = net.b(hidden)
        return later + net.write(hidden)

    network = Net(overwritten)
    network.write = write
    assert fuse(channels_last(network), batch(8, 3, 6, 6)) is None


def by_name(net, x):
    return F.relu(net.a(input=x))


def scaled(net, x):
    return F.relu(torch.add(net.a(x), net.b(x), alpha=2))


def both(net, x):
    return F.relu(net.a(x) + net.b(x))


def summed(net, x):
    return net.a(x) + net.b(x)


def reused(net, x):
    hidden = net.a(x)
    return F.relu(hidden) + hidden


def broadcast(net, x):
    return F.relu(net.a(x) + net.b(x).mean((2, 3), keepdim=True))


def doubled(net, x):
    hidden = net.a(x)
    return F.relu(hidden + hidden)


def in_place(net, x):
    hidden = net.a(x)
    hidden += net.b(x)
    return hidden.relu_()


def read_between(net, x):
    hidden = net.a(x)
    later = net.b(hidden)
    return F.relu(later + torch.sigmoid(hidden))  # reads what `b` reads, and leaves it as it is


@pytest.mark.parametrize(
    ("how", "fusions"),
    [
        (both, 1),
        (summed, 1),
        (in_place, 1),
        (read_between, 1),
        (reused, 0),
        (broadcast, 0),
        (doubled, 0),
        (by_name, 0),
        (scaled, 0),
    ],
)
def test_what_is_fused_and_what_is_not(how, fusions):
    torch.manual_seed(0)
    network = channels_last(Net(how))
    fused = fuse(network, batch(8, 3, 6, 6))
    assert (0 if fused is None else parts(fused, FusedConv2d)) == fusions
    if fused is not None:
        close = dict(rtol=0, atol=1e-6)  # a sum may be added up in another order
        assert torch.allclose(outputs(fused, 9, 3, 6, 6), outputs(network, 9, 3, 6, 6), **close)


POOLS = [
    (nn.MaxPool2d(2), True),
    (nn.MaxPool2d((2, 2), (2, 2), (0, 0), (1, 1)), True),
    (lambda x: F.max_pool2d(x, [2, 2], [2, 2]), True),
    (nn.MaxPool2d(2, 1), False),
    (nn.MaxPool2d(3, 2), False),
    (nn.MaxPool2d((2, 3), 2), False),
    (nn.MaxPool2d(2, 2, 1), False),
    (nn.MaxPool2d(2, 2, dilation=2), False),
    (nn.MaxPool2d(2, 2, ceil_mode=True), False),
    (nn.AvgPool2d(2), False),
    (lambda x: F.max_pool2d(x, 2), True),
    (lambda x: F.max_pool2d(x, kernel_size=2, stride=2), True),
    (lambda x: F.max_pool2d(x, 2, 2, 1), False),
    (lambda x: F.max_pool2d(x, 2, stride=1), False),
    (lambda x: F.max_pool2d(x, 2, ceil_mode=True), False),
    (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], False),
    (lambda x: F.avg_pool2d(x, 2), False),
]


class Pooled(nn.Module):
    """A convolution and what comes after it."""

    def __init__(self, *after):
        super().__init__()
        self.a, self.after = nn.Conv2d(3, 4, 3, padding=1), after
        self.parts = nn.ModuleList(one for one in after if isinstance(one, nn.Module))

    def forward(self, x):
        y = self.a(x)
        for one in self.after:
            y = one(y)
        return y.flatten(1)


def fusions(network: nn.Module) -> list[tuple[str, bool]]:
    """What each fused convolution does after it; the same function."""
    fused = fuse(channels_last(network), batch(8, 3, 7, 7))
    assert torch.equal(outputs(fused, 9, 3, 7, 7), outputs(network, 9, 3, 7, 7))
    return [(part.after, part.pool) for part in fused.modules() if isinstance(part, FusedConv2d)]


@pytest.mark.parametrize(("pool", "pairwise"), POOLS)
def test_pooling_over_pairs_alone_belongs_to_the_convolution(pool, pairwise):
    torch.manual_seed(0)
    assert fusions(Pooled(F.relu, pool)) == [("relu", pairwise)]


def halves(y):
    return F.max_pool2d(y, 2)


@pytest.mark.parametrize(
    ("after", "fused"),
    [
        ((halves,), [("none", True)]),
        ((halves, F.relu), [("relu", True)]),
        ((F.relu, halves), [("relu", True)]),
        ((halves, F.relu, halves), [("relu", True)]),
        ((F.relu, halves, F.relu), [("relu", True)]),
        ((lambda y: y + y.neg() * 0.5, F.relu, halves), []),
        ((lambda y: torch.cat([halves(y).flatten(1), y.flatten(1)], dim=1),), []),
    ],
)
def test_pooling_and_relu_go_into_a_convolution_once_each_in_any_order(after, fused):
    torch.manual_seed(0)
    assert fusions(Pooled(*after)) == fused


def test_what_is_added_to_a_convolution_is_added_before_pooling():
    class Added(Pooled):
        def forward(self, x):
            return halves(F.relu(self.a(x) + self.a(2 * x))).flatten(1)

    torch.manual_seed(0)
    assert fusions(Added()) == [("relu", False)]


CONVOLUTIONS = [
    (dict(stride=2), True),
    (dict(dilation=2), True),
    (dict(groups=3), True),
    (dict(bias=False), True),
    (dict(padding=(0, 1)), True),
    (dict(padding="same"), False),
    (dict(padding=1, padding_mode="reflect"), False),
]


@pytest.mark.parametrize(("settings", "fusible"), CONVOLUTIONS)
def test_plain_convolutions_of_any_geometry_are_fused(settings, fusible):
    torch.manual_seed(0)
    network = channels_last(nn.Sequential(nn.Conv2d(3, 6, 3, **settings), nn.ReLU(), nn.Flatten()))
    fused = fuse(network, batch(8, 3, 7, 7))
    assert (fused is not None) == fusible
    if fused is not None:
        close = dict(rtol=0, atol=1e-6)
        assert torch.allclose(outputs(fused, 9, 3, 7, 7), outputs(network, 9, 3, 7, 7), **close)


@pytest.mark.parametrize(
    "after",
    [nn.ReLU6(), nn.GELU(), nn.Sequential(), lambda x: x.sigmoid(), lambda x: F.relu6(x), lambda x: x.neg()],
)
def test_nothing_but_relu_goes_into_a_convolution(after):
    assert fuse(channels_last(Pooled(F.relu, after)).a, batch(8, 3, 7, 7)) is None
    network = channels_last(nn.Sequential(nn.Conv2d(3, 4, 3)))
    network.append(after if isinstance(after, nn.Module) else Applied(after))
    assert fuse(network, batch(8, 3, 7, 7)) is None


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_watched_convolutions_and_inputs_that_are_kept_stay_as_they_are():
    for hook in ("register_forward_hook", "register_forward_pre_hook"):
        watched = nn.Conv2d(3, 4, 3)
        getattr(watched, hook)(lambda module, *given: None)
        assert fuse(channels_last(nn.Sequential(watched, nn.ReLU())), batch(8, 3, 7, 7)) is None
    dropped = channels_last(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Dropout(), nn.ReLU()))
    assert parts(fuse(dropped, batch(8, 3, 7, 7)), FusedConv2d) == 1


def test_code_that_cannot_be_traced_is_left_alone():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return F.relu(self.a(x)) if x.sum() > 0 else self.a(x)

    assert fuse(Branching().eval(), batch(8, 3, 6, 6)) is None


def test_a_disagreeing_result_is_not_used(monkeypatch):
    monkeypatch.setattr(fusing, "pooled", lambda x: F.avg_pool2d(x, 2))
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)).eval()
    described = BaseClassifier(network, shape=(3, 6, 6), batch=8).describe()
    assert described["fused"] is False and described["dropped"] == "fuse"


def test_the_classifier_says_whether_it_is_fused(monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    options = dict(shape=(3, 6, 6), batch=8)
    assert BaseClassifier(network, Inference(precision="float32"), **options).describe()["fused"] is True
    assert BaseClassifier(network, Inference(precision="float32", fold=False), **options).describe()["fused"] is False
    monkeypatch.setattr(fusing.torch.backends.mkldnn, "is_available", lambda: False)
    assert BaseClassifier(network, Inference(precision="float32"), **options).describe()["fused"] is False


def test_freed_memory_is_kept():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    pages = (36 << 20) // resource.getpagesize()  # a block larger than glibc keeps by itself
    rounds, first = 20, 5
    faults = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(36 << 18)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert sum(faults[first:]) < (rounds - first) * pages / 2  # now and then a small object takes a hole
