"""Networks that see images at another size: resizing is part of the function, of the entry and of its digest."""

import json

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from certflow.data.base import DataInfo
from certflow.kinds.registry import revive, spec_class
from certflow.models import build
from certflow.models.base import Inference
from certflow.models.normalise import Normalise
from certflow.models.published import load_weights
from certflow.sampling.classifier import BaseClassifier

DATA = DataInfo(10, (3, 20, 24), (0.5, 0.4, 0.3), (0.5, 0.4, 0.2))
RESNET = spec_class("model", "cifar_resnet")
WAYS = [
    32,
    {"size": [32, 32], "mode": "bilinear"},
    {"size": 32, "antialias": False},
    {"size": 32, "mode": "bilinear", "antialias": False},
]


def entry(resize, **fields):
    return RESNET.model_validate_json(json.dumps({"kind": "cifar_resnet", "depth": 8, "resize": resize, **fields}))


def randomised(network):
    torch.manual_seed(1)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return network.eval()


def by_hand(network, x, resize):
    mode, antialias = (
        ("bicubic", True) if resize == 32 else (resize.get("mode", "bicubic"), resize.get("antialias", True))
    )
    x = F.interpolate(x, size=(32, 32), mode=mode, antialias=antialias)
    return network[1]((x - torch.tensor(DATA.mean)[:, None, None]) / torch.tensor(DATA.sd)[:, None, None])


@pytest.mark.parametrize("resize", WAYS)
@torch.inference_mode()
def test_the_network_sees_noisy_images_resized_before_they_are_normalised(resize):
    network = randomised(build(entry(resize), DATA))
    x = torch.rand(8, *DATA.shape) + 0.5 * torch.randn(8, *DATA.shape)
    torch.testing.assert_close(network(x), by_hand(network, x, resize), rtol=1e-5, atol=1e-5)
    base = BaseClassifier(network, Inference(), shape=DATA.shape, batch=8)
    assert base.describe()["folded"] and base.describe()["dropped"] == "none"
    shown = x if base.shift is None else x - base.shift
    torch.testing.assert_close(base.logits(shown), by_hand(network, x, resize), rtol=1e-4, atol=1e-5)


def test_it_runs_in_bfloat16_and_behind_another_normalisation():
    network = randomised(build(entry(32), DATA))
    assert BaseClassifier(network, Inference(precision="bfloat16"), shape=DATA.shape, batch=8).precision == "bfloat16"
    other = network.normalised_by(Normalise())
    assert other[1] is network[1] and other(torch.rand(2, *DATA.shape)).shape == (2, 10)


def test_it_is_part_of_the_entry_and_its_digest():
    digests = {entry(resize).digest() for resize in [None, *WAYS, 36]}
    assert len(digests) == 2 + len(WAYS)
    assert entry(None).digest() == RESNET(depth=8).digest() and "resize" not in RESNET(depth=8).canonical()
    for resize in (None, *WAYS):
        assert revive("model", entry(resize).canonical()) == entry(resize)
    assert entry(32).architecture()["resize"] == {"size": 32, "mode": "bicubic", "antialias": True}
    assert entry([32, 40]).resize.sides == (32, 40)


@pytest.mark.parametrize("resize", [0, -1, "32", True, [32], {"size": 32, "mode": "nearest"}, {"mode": "bicubic"}])
def test_impossible_sizes_are_refused(resize):
    with pytest.raises(ValidationError, match="resize"):
        entry(resize)


def test_what_the_architecture_takes_is_what_it_sees():
    assert entry(32).refusals(DATA) == []
    assert entry(None).refusals(DATA) == ["cifar_resnet takes 3x32x32 images, the data are 3x20x24; use timm"]
    assert "the data are 3x40x40" in entry(40).refusals(DATA)[0]


def test_a_transformer_fine_tuned_on_enlarged_images_is_imported(tmp_path):
    timm = pytest.importorskip("timm")
    name, path = "vit_tiny_patch16_224", tmp_path / "vit.safetensors"
    from safetensors.torch import save_file

    save_file(timm.create_model(name, num_classes=10).state_dict(), path)
    spec = spec_class("model", "timm")(name=name, resize=224)
    network = load_weights(path, spec, DataInfo(10, (3, 32, 32), (0.5,) * 3, (0.5,) * 3), classes=10).module
    with torch.inference_mode():
        assert network(torch.rand(1, 3, 32, 32)).shape == (1, 10)
