"""Denoise, then classify: one fixed function, whatever noise it is sampled under, with the classifier frozen."""

import numpy as np
import pytest
import torch
from denoising_examples import DNCNN, DRUNET, INFO, classifier, composed
from training_examples import patterns, weights

from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.quality import measure
from certflow.models.base import Inference
from certflow.noise import Gaussian, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes

FLOAT32 = Inference(precision="float32")


def base(network):
    return BaseClassifier(network, FLOAT32, shape=INFO.shape, classes=10)


@pytest.mark.parametrize("spec", [DNCNN, DRUNET], ids=lambda spec: spec.kind)
def test_the_folded_network_is_the_same_function(spec):
    network = composed(spec)
    ready, x = base(network), torch.rand(8, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(ready.logits(ready.prepare(x)), network(x), rtol=1e-4, atol=1e-4)


def test_batch_normalisation_of_the_denoiser_is_folded_away():
    ready = base(composed(DNCNN))
    assert ready.describe()["folded"]
    left = [m for m in ready.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert left == []


def test_noise_of_another_level_does_not_change_what_the_denoiser_is_told():
    """As when a second distribution is sampled: the level that reaches the network stays the frozen one."""
    network = composed(DRUNET, sigma=0.5)
    told = []
    network.denoiser.network.register_forward_pre_hook(lambda _, x: told.append(x[0][:, -1].unique()))
    index = np.arange(3)
    images = torch.rand(3, 1, 8, 8)
    plain = Inference(precision="float32", fold=False)
    ready = BaseClassifier(network, plain, shape=INFO.shape, classes=10)
    for sigma, stream in ((0.5, Stream.ESTIMATION), (0.25, Stream.SECOND_DISTRIBUTION)):
        count_classes(
            ready, images, index, np.full(3, 9), noise=Gaussian(sigma=sigma), seed=0, stream=stream, quiet=True
        )
    assert ready.network.denoiser.condition == 0.5
    assert len(told) >= 3 and all(levels.tolist() == [0.5] for levels in told)


def test_a_denoiser_without_a_fixed_level_is_refused():
    network = DenoiseThenClassify(DRUNET.build(INFO, None), classifier())
    with pytest.raises(ValueError, match="not one function: denoiser; build the denoiser with a condition"):
        base(network)


def test_the_classifier_stays_in_eval_mode_and_takes_no_gradient():
    network = composed(DNCNN).train()
    assert network.denoiser.training and not network.classifier.training
    assert not any(p.requires_grad for p in network.classifier.parameters())
    before = weights(network.classifier)
    network(torch.rand(8, 1, 8, 8)).square().mean().backward()
    assert weights(network.classifier) == before
    gradients = [p.grad for p in network.denoiser.parameters()]
    assert all(g is not None and bool(g.abs().sum() > 0) for g in gradients)


def test_without_a_denoiser_it_is_the_classifier():
    frozen, x = classifier(), torch.randn(4, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(DenoiseThenClassify(None, frozen)(x), frozen(x))


def test_clamping_and_resizing_happen_between_denoiser_and_classifier():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 8, 8)
    seen = []

    class Look(torch.nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.flatten(1)[:, :10]

    DenoiseThenClassify(None, Look())(x)
    DenoiseThenClassify(None, Look(), clamp=True)(x)
    DenoiseThenClassify(None, Look(), resize=16)(x)
    assert torch.equal(seen[0], x) and torch.equal(seen[1], x.clamp(0, 1))
    assert seen[2].shape == (2, 1, 16, 16)


def test_quality_is_measured_against_the_clean_image():
    _, test = patterns(train=4, test=60)
    noise, network = Gaussian(sigma=0.5), DenoiseThenClassify(None, classifier())
    found = measure(network, test, noise, seed=3, device="cpu")
    # Without a denoiser the squared error per pixel is a chi-square mean: 0.25 with standard deviation 0.25·√(2/3840).
    assert found["images"] == 60
    assert abs(found["mse"] - 0.25) < 5 * 0.25 * (2 / 3840) ** 0.5
    assert found["psnr"] == pytest.approx(-10 * np.log10(found["mse"]))
    assert found["accuracy"] == found["accuracy_without"]


class Oracle(torch.nn.Module):
    """Knows the clean images."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean

    def forward(self, y):
        return self.clean[: len(y)]


def test_a_perfect_denoiser_has_no_error_and_the_clean_accuracy():
    _, test = patterns(train=4, test=60)
    network = DenoiseThenClassify(None, classifier())
    network.denoiser = Oracle(torch.from_numpy(test.pixels).float() / 255)
    found = measure(network, test, Gaussian(sigma=0.5), seed=3, device="cpu")
    assert found["mse"] == 0 and found["psnr"] is None
    assert found["accuracy"] == found["accuracy_clean"]


@pytest.mark.parametrize("learns", ["denoiser", "classifier", "both"])
def test_what_does_not_learn_rests(learns):
    network = DenoiseThenClassify(DNCNN.build(INFO, 0.5), classifier(), learns=learns).train()
    for name in ("denoiser", "classifier"):
        part, moves = getattr(network, name), learns in (name, "both")
        assert part.training == moves and all(p.requires_grad == moves for p in part.parameters())
    before = weights(network)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(6, 1, 8, 8)).square().sum().backward()
    optimiser.step()
    changed = {name.partition(".")[0] for name, value in weights(network).items() if value != before[name]}
    assert changed == ({"denoiser", "classifier"} if learns == "both" else {learns})
