"""ReLU of max pooling of a convolution as one step of a training on a CPU: what torch computes in three, and its gradients."""

from itertools import product

import pytest
import torch
from models_examples import MNIST, spec
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_full_backward_hook

from certflow.models import build
from certflow.models.fast import pooled, winograd
from certflow.models.fast.winograd import Shape, arranged, convolve, convolve_relu_pool
from certflow.models.networks.pooling import relu_pool
from certflow.training.fast import convolutions
from certflow.training.fast.convolutions import native
from certflow.training.fast.frozen import frozen, pairs

CPU = torch.device("cpu")
NONE = 4


@pytest.fixture(scope="module", autouse=True)
def kernel():
    if pooled.kernel() is None or winograd.kernel() is None:
        pytest.skip("no C compiler")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def always(monkeypatch):
    """Ours also where it would not pay."""
    monkeypatch.setattr(convolutions, "pays", lambda shape, height, width, *, pooled: True)


@pytest.fixture
def used(monkeypatch) -> list[int]:
    """How many images ours has convolved and pooled, a number each time."""
    found = []

    for function in (convolve, convolve_relu_pool):

        def noted(x, *given, function=function, **settings):
            found.append(len(x))
            return function(x, *given, **settings)

        monkeypatch.setattr(convolutions, function.__name__, noted)
    return found


def plain(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return F.relu(F.max_pool2d(layer(x), 2))


def apart(layer: nn.Conv2d, x: torch.Tensor) -> bool:
    """Whether no rounding decides which output of four is the largest, or whether it is above 0."""
    cells = F.unfold(layer(x).detach().flatten(0, 1)[:, None], 2, stride=2).sort(1).values
    return bool((cells[:, 3] - cells[:, 2]).min() > 1e-5 and cells[:, 3].abs().min() > 1e-5)


def example(inputs: int, outputs: int, size: int, padding: int, sides: tuple[int, int], rows: int = 7):
    """A float64 layer and float32 images that are pooled alike whatever the rounding, and a gradient by the result."""
    for seed in range(50):
        torch.manual_seed(seed)
        layer, x = nn.Conv2d(inputs, outputs, size, padding=padding).double(), torch.randn(rows, inputs, *sides)
        if apart(layer, x.double()):
            return layer, x, torch.randn_like(plain(layer, x.double())).float()
    raise AssertionError("no such images")


def gradients(function, layer: nn.Conv2d, x: torch.Tensor, dy: torch.Tensor) -> list[torch.Tensor]:
    """The result, and its gradients by images, filters and bias."""
    leaf = x.clone().requires_grad_()
    y = function(layer, leaf)
    return [y.detach(), *torch.autograd.grad(y, [leaf, *layer.parameters()], dy)]


FORMS = [
    (1, 20, 5, 0),
    (1, 6, 5, 4),
    (2, 9, 5, 3),
    (3, 16, 3, 0),
    (3, 7, 3, 2),
    (4, 11, 5, 1),
    (6, 18, 3, 1),
    (16, 17, 3, 2),
    (20, 50, 5, 0),
    (33, 19, 5, 4),
    (64, 5, 3, 1),
]


@pytest.mark.parametrize("sides", [(6, 7), (7, 9), (12, 8)])
@pytest.mark.parametrize(("inputs", "outputs", "size", "padding"), FORMS)
def test_the_gradients_are_torchs(always, used, inputs, outputs, size, padding, sides):
    """In both layouts of what comes back. Odd last rows and columns of outputs are left out by pooling."""
    layer, x, dy = example(inputs, outputs, size, padding, sides)
    wanted = gradients(plain, layer, x.double(), dy.double())
    layer.float()
    for layout in (torch.contiguous_format, torch.channels_last):
        with native(layer, CPU):
            found = gradients(relu_pool, layer, x, dy.contiguous(memory_format=layout))
        assert [t.shape for t in found] == [t.shape for t in wanted]
        for ours, exact in zip(found, wanted, strict=True):
            assert (ours - exact).abs().max() < 2e-5 * exact.abs().max()
    assert used == [7, 7]


def spread(dy: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The gradient by all outputs."""
    whole = torch.zeros(*dy.shape[:2], 2 * dy.shape[2], 2 * dy.shape[3])
    for number in range(NONE):
        whole[:, :, number // 2 :: 2, number % 2 :: 2] = dy * (chosen == number)
    return whole


def channels_last(chosen: torch.Tensor) -> torch.Tensor:
    return chosen.to(torch.int32).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("inputs", [*range(1, 35), 50, 64, 69])
def test_whole_numbers_have_whole_gradients(inputs, size):
    """Sums of small whole numbers are exact in any order. Rows are cut into vectors in many ways."""
    torch.manual_seed(inputs)
    outputs, padding, side = inputs % 5 + 1, inputs % size, 2 * (inputs % 3) + 6
    shape, x = Shape(inputs, outputs, size, padding), torch.randint(-3, 4, (6, inputs, side, side + 2)).float()
    weight = torch.randint(-3, 4, (outputs, inputs, size, size)).float()
    down, across = (shape.reach(length) // 2 for length in x.shape[2:])
    dy = torch.randint(-3, 4, (6, outputs, down, across)).float()
    chosen = channels_last(torch.randint(0, NONE + 1, dy.shape))
    whole = F.pad(spread(dy, chosen), (0, shape.reach(side + 2) % 2, 0, shape.reach(side) % 2))
    by_images = F.grad.conv2d_input(x.shape, weight, whole, padding=padding)
    assert torch.equal(pooled.by_images(dy, chosen, weight, shape, (side, side + 2)), by_images)
    by_filters, by_bias = pooled.by_filters(x, dy, chosen, shape)
    assert torch.equal(by_filters, F.grad.conv2d_weight(x, weight.shape, whole, padding=padding))
    assert torch.equal(by_bias, whole.sum((0, 2, 3)))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 20), (3, 33), (20, 50)])
def test_of_equals_the_first_is_chosen_and_none_where_nothing_is_above_zero(inputs, outputs):
    """As torch does it. A black image's outputs are all the bias."""
    shape, bias = Shape(inputs, outputs, 3, 0), torch.linspace(-1, 1, outputs)
    bias[outputs // 2] = 0
    filters, x = arranged(torch.randn(outputs, inputs, 3, 3)), torch.zeros(2, inputs, 6, 10)
    _, chosen = convolve_relu_pool(x, filters, shape.constants(bias), shape)
    assert torch.equal(chosen.long(), torch.where(bias > 0, 0, NONE)[:, None, None].expand(chosen.shape))


@pytest.mark.parametrize("inputs", [1, 20])
def test_the_chosen_output_is_that_of_torch(inputs):
    """For all cells of zeros, ones and twos. A filter that copies, 576 times as large, is exact in Winograd's algorithm."""
    shape, outputs = Shape(inputs, 18, 3, 1), 18
    weight = torch.zeros(outputs, inputs, 3, 3, dtype=torch.float64)
    weight[:, 0, 1, 1] = 576
    cells = torch.tensor(list(product(range(3), repeat=4))).float()
    x = torch.zeros(1, inputs, 18, 18)
    x[0, 0] = F.fold(cells.t()[None], (18, 18), 2, stride=2)[0, 0]
    _, chosen = convolve_relu_pool(x, arranged(weight), shape.constants(None), shape)
    largest, places = F.max_pool2d(x[:, :1], 2, return_indices=True)
    wanted = torch.where(largest > 0, places // 18 % 2 * 2 + places % 2, NONE)
    assert torch.equal(chosen.long(), wanted.expand(chosen.shape))


def test_what_is_no_number_stays_so_and_has_a_gradient():
    torch.manual_seed(0)
    shape, x = Shape(1, 16, 3, 0), torch.rand(2, 1, 10, 10)
    x[1, 0, 3, 3] = torch.nan
    y, chosen = convolve_relu_pool(x, arranged(torch.randn(16, 1, 3, 3)), shape.constants(None), shape)
    assert y[1].isnan().any() and not y[0].isnan().any()
    assert (chosen[y.isnan()] != NONE).all() and torch.equal(chosen == NONE, y == 0)


def test_an_infinite_gradient_stays_in_its_image():
    """Rows before and behind have the bits that they have without it."""
    for form in FORMS:
        layer, x, dy = example(*form, sides=(6, 8), rows=9)
        shape = Shape(*form)
        chosen = channels_last(torch.zeros(dy.shape))
        weight = layer.weight.detach().float()
        wanted = pooled.by_images(dy, chosen, weight, shape, (6, 8))
        dy[4] = torch.inf
        found = pooled.by_images(dy, chosen, weight, shape, (6, 8))
        others = [row for row in range(9) if row != 4]
        assert torch.equal(found[others], wanted[others]) and not found[4].isfinite().all()


def test_a_rows_gradient_does_not_depend_on_the_others(threads):
    layer, x, dy = example(20, 50, 5, 0, (12, 12), rows=11)
    weight, shape = layer.weight.detach().float(), Shape(20, 50, 5, 0)
    chosen = channels_last(torch.randint(0, NONE + 1, dy.shape))
    wanted = pooled.by_images(dy, chosen, weight, shape, (12, 12))
    for number in (1, 2, 3):
        threads(number)
        assert torch.equal(pooled.by_images(dy, chosen, weight, shape, (12, 12)), wanted)
    parts = [pooled.by_images(dy[rows], chosen[rows], weight, shape, (12, 12)) for rows in (slice(0, 5), slice(5, 11))]
    assert torch.equal(torch.cat(parts), wanted)


def test_filters_gradients_are_shared_out_to_threads_that_have_enough_to_do(threads, monkeypatch):
    asked, made = [], pooled.share
    monkeypatch.setattr(pooled, "share", lambda threads, *given: asked.append(threads) or made(threads, *given))
    layer, x, dy = example(3, 16, 3, 0, (6, 6), rows=3 * pooled.IMAGES_EACH + 5)
    chosen = channels_last(torch.zeros(dy.shape))
    threads(1)
    wanted = pooled.by_filters(x, dy, chosen, Shape(3, 16, 3, 0))
    for number in (2, 3, 7):
        threads(number)
        found = pooled.by_filters(x, dy, chosen, Shape(3, 16, 3, 0))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert asked == [1, 2, 3, 3]


def test_no_image_has_no_gradient():
    shape, none = Shape(3, 16, 3, 1), torch.zeros(0, 16, 4, 4)
    by_filters, by_bias = pooled.by_filters(torch.zeros(0, 3, 8, 8), none, none.to(torch.int32), shape)
    assert not by_filters.any() and not by_bias.any()
    assert pooled.by_images(none, none.to(torch.int32), torch.ones(16, 3, 3, 3), shape, (8, 8)).shape == (0, 3, 8, 8)


def test_which_gradients_are_asked_for_changes_none_of_them():
    layer, x, dy = example(1, 20, 5, 0, (12, 12))
    layer.float()
    with native(layer, CPU):
        _, by_x, by_weight, by_bias = gradients(relu_pool, layer, x, dy)
        layer.requires_grad_(False)
        leaf = x.clone().requires_grad_()
        assert torch.equal(torch.autograd.grad(relu_pool(layer, leaf), leaf, dy)[0], by_x)
        layer.weight.requires_grad_(True)
        assert torch.equal(torch.autograd.grad(relu_pool(layer, x), layer.weight, dy)[0], by_weight)
        layer.requires_grad_(False).bias.requires_grad_(True)
        assert torch.equal(torch.autograd.grad(relu_pool(layer, x), layer.bias, dy)[0], by_bias)
        wanted = relu_pool(layer, x).detach()
        layer.requires_grad_(False)
        assert torch.equal(relu_pool(layer, x), wanted)
    unbiased = nn.Conv2d(1, 20, 5, bias=False)
    unbiased.weight = nn.Parameter(layer.weight.detach().clone())
    with native(unbiased, CPU):
        assert len(gradients(relu_pool, unbiased, x, dy)) == 3


def test_there_is_no_gradient_of_a_gradient():
    layer, leaf = nn.Conv2d(1, 16, 3), torch.rand(2, 1, 8, 8, requires_grad=True)
    with native(layer, CPU):
        (first,) = torch.autograd.grad(relu_pool(layer, leaf).square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


@pytest.mark.parametrize(
    "register",
    [
        nn.Module.register_forward_hook,
        nn.Module.register_forward_pre_hook,
        nn.Module.register_full_backward_hook,
        nn.Module.register_full_backward_pre_hook,
        lambda layer, hook: register_module_forward_hook(hook),
        lambda layer, hook: register_module_full_backward_hook(hook),
    ],
)
def test_hooks_of_the_convolution_are_called(used, register):
    layer, x = nn.Conv2d(1, 16, 3), torch.rand(2, 1, 8, 8, requires_grad=True)
    seen = []
    with native(layer, CPU):
        wanted = relu_pool(layer, x)
        handle = register(layer, lambda *given: seen.append(given))
        found = relu_pool(layer, x)
        found.sum().backward()
        handle.remove()
        assert len(seen) == 1 and torch.equal(relu_pool(layer, x), wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_who_looks_at_the_outputs_sees_them_before_they_are_pooled():
    layer, x, seen = nn.Conv2d(1, 16, 3), torch.rand(2, 1, 8, 8), []
    layer.register_forward_hook(lambda module, given, y: seen.append(y))
    with native(layer, CPU):
        found = relu_pool(layer, x)
    assert seen[0].shape == (2, 16, 6, 6) and torch.equal(F.relu(F.max_pool2d(seen[0], 2)), found)


def test_a_forward_of_its_own_is_called(used):
    layer, x = nn.Conv2d(1, 16, 3), torch.rand(2, 1, 8, 8)
    layer.forward = lambda x: 0 * nn.Conv2d.forward(layer, x) + 3
    with native(layer, CPU):
        assert (relu_pool(layer, x) == 3).all()


def test_a_layer_that_is_changed_is_looked_at_again(used):
    layer, x = nn.Conv2d(1, 16, 3), torch.rand(2, 1, 12, 12)
    with native(layer, CPU):
        relu_pool(layer, x)
        layer.stride = (2, 2)
        assert torch.equal(relu_pool(layer, x), plain(layer, x)) and used == [2]
        layer.stride = (1, 1)
        layer.weight = nn.Parameter(torch.randn(16, 1, 5, 5))
        wanted = F.relu(F.max_pool2d(F.conv2d(x, layer.weight, layer.bias), 2))
        torch.testing.assert_close(relu_pool(layer, x), wanted, rtol=1e-4, atol=1e-4)
        layer.double()
        for function in (relu_pool, plain):
            with pytest.raises(RuntimeError, match="should be the same"):
                function(layer, x)
    assert used == [2, 2]


def test_images_too_large_for_the_numbers_of_places_are_left_to_torch(used, monkeypatch):
    layer = nn.Conv2d(1, 16, 3)
    monkeypatch.setattr(pooled, "MOST", 16 * 9)
    with native(layer, CPU):
        relu_pool(layer, torch.rand(3, 1, 12, 12))
        assert used == [3]
        relu_pool(layer, torch.rand(3, 1, 12, 13))
        assert used == [3, 3]  # a convolution that is not pooled
        assert type(relu_pool(layer, torch.rand(3, 1, 12, 13)).grad_fn).__name__ == "ReluBackward0"


def test_few_outputs_pay_where_they_are_pooled(used):
    layer = nn.Conv2d(1, 6, 5)
    with native(layer, CPU):
        relu_pool(layer, torch.rand(2, 1, 12, 12))
        assert used == [2]
        layer(torch.rand(2, 1, 12, 12))
    assert used == [2]


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Conv2d(1, 16, 3), torch.rand(1, 8, 8)),
        (nn.Conv2d(1, 16, 3).double(), torch.rand(2, 1, 8, 8).double()),
        (nn.Conv2d(1, 16, 3, stride=2), torch.rand(2, 1, 8, 8)),
        (nn.Conv2d(8, 16, 3), torch.rand(2, 8, 8, 8)),
        (nn.Conv2d(16, 8, 3), torch.rand(2, 16, 8, 8)),
    ],
)
def test_what_is_not_ours_stays_torchs(used, layer, x):
    wanted = plain(layer, x)
    with native(layer, CPU):
        assert torch.equal(relu_pool(layer, x), wanted)
    assert not used


def test_many_channels_to_few_are_ours_and_are_pooled_by_torch(used):
    layer, x = nn.Conv2d(32, 3, 3), torch.rand(2, 32, 8, 8)
    with native(layer, CPU):
        found = relu_pool(layer, x)
        assert torch.equal(found, plain(layer, x)) and used == [2, 2]
    torch.testing.assert_close(found, plain(layer, x), rtol=1e-4, atol=1e-4)


def test_what_torch_refuses_is_refused():
    layer, negative = nn.Conv2d(1, 16, 3), nn.Conv2d(1, 16, 3, padding=-1)
    with native(nn.ModuleList([layer, negative]), CPU):
        for function in (relu_pool, nn.Conv2d.__call__):
            with pytest.raises(RuntimeError, match="negative padding is not supported"):
                function(negative, torch.rand(2, 1, 8, 8))
        with pytest.raises(RuntimeError, match="Output size is too small"):
            relu_pool(layer, torch.rand(2, 1, 3, 8))
        with pytest.raises(RuntimeError, match="to have 1 channel"):
            relu_pool(layer, torch.rand(2, 2, 8, 8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert relu_pool(layer, torch.rand(2, 1, 8, 8)).dtype == torch.bfloat16


class Normalised(nn.Module):
    """A convolution that is pooled, and one that is normalised."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pooled, self.normalised, self.norm = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.normalised(relu_pool(self.pooled, x))).flatten(1)


def test_an_attack_still_finds_what_can_be_folded(used):
    network, x = Normalised(), torch.rand(2, 1, 12, 12)
    with native(network, CPU), frozen(network):
        assert len(pairs(network)) == 1
        found = network(x)
    assert used == [2, 2]
    torch.testing.assert_close(found, network.eval()(x), rtol=1e-4, atol=1e-4)


def test_lenet_is_ours_but_for_its_linear_layers(used):
    torch.manual_seed(0)
    network, x = build(spec("lenet"), MNIST)[1], torch.rand(5, 1, 28, 28)
    wanted = network(x)
    with native(network, CPU):
        found = network(x)
    assert used == [5, 5] and torch.equal(network(x), wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
