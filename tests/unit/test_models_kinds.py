"""Architectures: parameter counts, forward passes against plain formulas, initial weights, names, and what is refused."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from models_examples import CIFAR, DIGITS, IMAGENET, MNIST, images, randomise, spec
from pydantic import ValidationError

from certflow.data.base import DataInfo
from certflow.models import build

SMALL = [
    ("lenet", {}, MNIST, 431_080),
    ("mnist_43", {}, MNIST, 1_974_762),
    ("small_conv", {}, DIGITS, 38_330),
    ("cifar_resnet", {"depth": 20}, CIFAR, 272_474),
    ("cifar_resnet", {"depth": 110}, CIFAR, 1_730_714),
    ("cifar_resnet", {"depth": 110}, DataInfo(100, (3, 32, 32)), 1_736_564),
    ("wide_resnet", {"depth": 16, "width": 2}, CIFAR, 691_674),
]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("kind", "fields", "info", "count"), SMALL)
def test_parameter_counts_and_shapes_are_the_papers(kind, fields, info, count):
    network = build(spec(kind, **fields), info)
    assert parameters(network) == count
    assert all(key.startswith(("0.mean", "0.sd", "1.")) for key in network.state_dict())
    assert network.eval()(images(3, info.shape)).shape == (3, info.classes)


def test_wide_resnet_28_10_has_its_known_size():
    """Count by a formula of its own: 3×3 and 1×1 convolutions, two numbers per normalised channel, the linear layer."""

    def stage(inputs, outputs, blocks):
        first = 9 * inputs * outputs + 9 * outputs**2 + inputs * outputs + 2 * (inputs + outputs)
        return first + (blocks - 1) * (18 * outputs**2 + 4 * outputs)

    total = 27 * 16 + stage(16, 160, 4) + stage(160, 320, 4) + stage(320, 640, 4) + 2 * 640 + 640 * 10 + 10
    assert parameters(spec("wide_resnet").backbone(CIFAR)) == total == 36_479_194


def test_resnet50_is_torchvisions_definition():
    from torchvision.models import ResNet

    network = spec("resnet50").backbone(IMAGENET)
    assert type(network) is ResNet and parameters(network) == 25_557_032
    assert network.fc.out_features == 1000


def test_other_numbers_of_classes_and_channels():
    assert build(spec("cifar_resnet", depth=8), DataInfo(7, (1, 32, 32))).eval()(images(2, (1, 32, 32))).shape == (2, 7)
    assert build(spec("small_conv"), DataInfo(3, (2, 5, 9))).eval()(images(2, (2, 5, 9))).shape == (2, 3)
    assert build(spec("lenet"), DataInfo(100, (1, 28, 28))).eval()(images(2, (1, 28, 28))).shape == (2, 100)


def test_lenet_computes_the_written_formula():
    network = build(spec("lenet"), MNIST)
    w, x = network.state_dict(), images(4, MNIST.shape)
    h = F.max_pool2d(F.relu(F.conv2d(x, w["1.conv1.weight"], w["1.conv1.bias"])), 2, 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, w["1.conv2.weight"], w["1.conv2.bias"])), 2, 2)
    h = F.relu(h.reshape(-1, 800) @ w["1.fc1.weight"].T + w["1.fc1.bias"])
    torch.testing.assert_close(network(x), h @ w["1.fc2.weight"].T + w["1.fc2.bias"])


def norm(x, w, name):
    shape = (1, -1, 1, 1)
    scale = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-5)
    return (x - w[f"{name}.running_mean"].view(shape)) * scale.view(shape) + w[f"{name}.bias"].view(shape)


def test_cifar_resnet_computes_the_written_formula():
    network = randomise(build(spec("cifar_resnet", depth=20), CIFAR))
    w, x = network.state_dict(), images(4, CIFAR.shape)
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (CIFAR.mean, CIFAR.sd))
    h = F.relu(norm(F.conv2d((x - shift) / scale, w["1.conv1.weight"], padding=1), w, "1.bn1"))
    for stage in (1, 2, 3):
        for block in range(3):
            at, stride = f"1.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            skip = h
            if stride == 2:
                skip = norm(F.conv2d(h, w[f"{at}.downsample.0.weight"], stride=2), w, f"{at}.downsample.1")
            h = F.relu(norm(F.conv2d(h, w[f"{at}.conv1.weight"], stride=stride, padding=1), w, f"{at}.bn1"))
            h = F.relu(norm(F.conv2d(h, w[f"{at}.conv2.weight"], padding=1), w, f"{at}.bn2") + skip)
    logits = h.mean((2, 3)) @ w["1.fc.weight"].T + w["1.fc.bias"]
    torch.testing.assert_close(network(x), logits, rtol=1e-4, atol=1e-5)


def test_wide_resnet_computes_the_written_formula():
    network = randomise(build(spec("wide_resnet", depth=16, width=2), DataInfo(10, (3, 32, 32))))
    w, x = network.state_dict(), images(4, CIFAR.shape)
    h = F.conv2d(x, w["1.conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range(2):
            at, stride = f"1.block{stage}.layer.{block}", 2 if stage > 1 and block == 0 else 1
            a = F.relu(norm(h, w, f"{at}.bn1"))
            skip = h if block else F.conv2d(a, w[f"{at}.convShortcut.weight"], stride=stride)
            a = F.relu(norm(F.conv2d(a, w[f"{at}.conv1.weight"], stride=stride, padding=1), w, f"{at}.bn2"))
            h = skip + F.conv2d(a, w[f"{at}.conv2.weight"], padding=1)
    logits = F.relu(norm(h, w, "1.bn1")).mean((2, 3)) @ w["1.fc.weight"].T + w["1.fc.bias"]
    torch.testing.assert_close(network(x), logits, rtol=1e-4, atol=1e-5)


def test_cifar_resnet_bears_the_published_names():
    keys = list(spec("cifar_resnet", depth=8).backbone(CIFAR).state_dict())
    bn = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]

    def block(name, projected):
        parts = [f"{name}.conv1.weight", *(f"{name}.bn1.{part}" for part in bn)]
        parts += [f"{name}.conv2.weight", *(f"{name}.bn2.{part}" for part in bn)]
        return parts + ([f"{name}.downsample.0.weight", *(f"{name}.downsample.1.{part}" for part in bn)] * projected)

    stages = [key for stage in (1, 2, 3) for key in block(f"layer{stage}.0", stage > 1)]
    assert keys == ["conv1.weight", *(f"bn1.{part}" for part in bn), *stages, "fc.weight", "fc.bias"]


def test_lenet_and_mnist_43_bear_the_published_names():
    lenet = list(spec("lenet").backbone(MNIST).state_dict())
    assert lenet == [f"{name}.{part}" for name in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")]
    mnist_43 = list(spec("mnist_43").backbone(MNIST).state_dict())
    assert mnist_43 == [f"{place}.{part}" for place in (0, 2, 4, 6, 9, 11, 13) for part in ("weight", "bias")]


@pytest.mark.parametrize(
    ("kind", "fields"), [("cifar_resnet", {"depth": 44}), ("wide_resnet", {"depth": 16, "width": 4})]
)
def test_convolutions_start_with_variance_two_over_fan_out(kind, fields):
    """A standardised sum of squares is chi-square with n degrees of freedom: 6 standard deviations is a level of 2e-9."""
    torch.manual_seed(5)
    network = spec(kind, **fields).backbone(CIFAR)
    squares, count = 0.0, 0
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            z = layer.weight.detach().double() * math.sqrt(fan_out / 2)
            assert abs(float((z**2).sum()) - z.numel()) < 6 * math.sqrt(2 * z.numel())
            squares, count = squares + float((z**2).sum()), count + z.numel()
        elif isinstance(layer, torch.nn.BatchNorm2d):
            assert bool((layer.weight == 1).all()) and not bool(layer.bias.any())
    assert count > 500_000
    assert abs(squares - count) < 6 * math.sqrt(2 * count)


def test_lenet_starts_as_pytorch_leaves_it():
    torch.manual_seed(5)
    for layer in spec("lenet").backbone(MNIST).children():
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert float(layer.bias.detach().abs().max()) <= bound


def test_one_seed_gives_one_network():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build(spec("cifar_resnet", depth=8), CIFAR).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("lenet", (3, 32, 32), "lenet takes 1x28x28 images, the data are 3x32x32; use cifar_resnet"),
        ("mnist_43", (1, 8, 8), "mnist_43 takes 1x28x28 images, the data are 1x8x8; use small_conv"),
        ("cifar_resnet", (1, 28, 28), "cifar_resnet takes 3x32x32 images, the data are 1x28x28; use lenet"),
        ("wide_resnet", (3, 64, 64), "wide_resnet takes 3x32x32 images, the data are 3x64x64; use resnet50"),
        (
            "resnet50",
            (3, 32, 32),
            "resnet50 takes 3x224x224 (at least 3x64x64) images, the data are 3x32x32; use cifar_resnet",
        ),
        ("resnet50", (1, 64, 64), "resnet50 takes 3x224x224 (at least 3x64x64) images, the data are 1x64x64; use timm"),
        ("small_conv", (3, 32, 32), "small_conv takes 4x4 to 16x16 images, the data are 3x32x32; use cifar_resnet"),
    ],
)
def test_images_of_another_shape_are_refused(kind, shape, message):
    info = DataInfo(10, shape)
    assert spec(kind).problems(info) == [message]
    with pytest.raises(ValueError) as error:
        build(spec(kind), info)
    assert str(error.value) == message


def test_impossible_depths_are_refused():
    with pytest.raises(ValidationError, match=r"must be 6n\+2"):
        spec("cifar_resnet", depth=21)
    with pytest.raises(ValidationError, match=r"must be 6n\+4"):
        spec("wide_resnet", depth=20)


def test_statistics_for_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match="mean has 3 values, the images have 1 channels"):
        build(spec("small_conv"), DataInfo(10, (1, 8, 8), mean=(0.5, 0.5, 0.5), sd=(1.0, 1.0, 1.0)))


def test_timm_builds_for_the_data_at_hand():
    network = build(spec("timm", name="resnet10t"), DataInfo(7, (1, 32, 32)))
    assert network.training and network.eval()(images(2, (1, 32, 32))).shape == (2, 7)
    with pytest.raises(ValueError, match=r"no model 'resnet19'; close: .*resnet18"):
        build(spec("timm", name="resnet19"), CIFAR)
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 cannot take 1x8x8 images"):
        build(spec("timm", name="vit_tiny_patch16_224"), DIGITS)


SMALL_VIT = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.1}


def test_timm_takes_settings():
    entry = spec("timm", name="vit_tiny_patch16_224", settings=SMALL_VIT)
    assert entry.problems(DIGITS) == [] and entry.canonical()["settings"] == SMALL_VIT
    network = build(entry, DIGITS)[1]
    assert (len(network.blocks), network.patch_embed.num_patches, network.embed_dim) == (2, 16, 16)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("vit_tiny_patch16_224", {**SMALL_VIT, "dept": 2}, "unexpected keyword argument 'dept'"),
        ("vit_tiny_patch16_224", {**SMALL_VIT, "depth": "two"}, "vit_tiny_patch16_224 does not take them"),
        ("resnet18", {"no_such": 1}, "unexpected keyword argument 'no_such'"),
    ],
)
def test_settings_that_timm_does_not_take_are_named_before_anything_runs(name, settings, message):
    (problem,) = spec("timm", name=name, settings=settings).problems(DIGITS)
    assert problem.startswith("settings: timm's ") and message in problem


def test_settings_that_the_data_say_are_refused():
    with pytest.raises(ValidationError, match="num_classes is not a setting of the network"):
        spec("timm", name="resnet18", settings={"num_classes": 3})
    with pytest.raises(ValidationError, match="settings"):
        spec("timm", name="resnet18", settings={"act_layer": None})


def test_heavy_libraries_are_imported_only_where_needed():
    code = """
import sys
from certflow.kinds.registry import kinds, spec_class
import certflow.models
for kind in kinds("model"):
    spec_class("model", kind)
spec_class("method", "external")
import certflow.models.header
from certflow.data.base import DataInfo
module = certflow.models.build(spec_class("model", "cifar_resnet")(depth=8), DataInfo(10, (3, 32, 32)))
certflow.models.fold(module)
import certflow.models.importing
print([name for name in ("torchvision", "timm", "torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
