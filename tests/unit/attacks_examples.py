"""Networks trained in seconds and other small things for the tests of attacks; no test in here."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from training_examples import digits

from certflow.attacks.target import Target
from certflow.attacks.victim import Victim
from certflow.kinds.registry import spec_class
from certflow.models import build
from certflow.noise import Gaussian, NoiseSpec
from certflow.sampling.classifier import BaseClassifier

SIGMA = 0.25
NOISE = Gaussian(sigma=SIGMA)


def attack(kind: str, **fields):
    """A spec as the configuration makes it."""
    return spec_class("attack", kind)(**{"eps": [0.5], **fields})


def small_digits(count: int) -> tuple[torch.Tensor, np.ndarray]:
    """float32 [count, 1, 8, 8] in [0,1] and int64 [count], test images."""
    images = digits()[1]
    return torch.from_numpy(images.pixels[:count]).float() / 255, images.labels[:count]


@cache
def trained(sigma: float = SIGMA, steps: int = 400) -> torch.nn.Module:
    """A small convolutional network, trained on digits under Gaussian noise; some seconds."""
    images, info = digits(train=1400)[0], spec_class("dataset", "digits")().info()
    torch.manual_seed(0)
    model = build(spec_class("model", "small_conv")(), info)
    return trained_on(model, torch.from_numpy(images.pixels), torch.from_numpy(images.labels), sigma=sigma, steps=steps)


def trained_on(
    model: torch.nn.Module, pixels: torch.Tensor, y: torch.Tensor, *, sigma: float, steps: int
) -> torch.nn.Module:
    """The model after so many steps of 64 noisy images each. pixels: uint8 [images, ...]."""
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(y), (64,), generator=generator)
        x = pixels[rows].float() / 255
        noisy = x + sigma * torch.randn(x.shape, generator=generator)
        loss = F.cross_entropy(model(noisy), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def victim_of(model: torch.nn.Module, noise: NoiseSpec = NOISE, seed: int = 0, shape=(1, 8, 8)) -> Victim:
    return Victim(model, BaseClassifier(model, shape=shape), noise, seed)


def target_of(model, x, y, eps, *, index=None, noise: NoiseSpec = NOISE, seed: int = 0) -> Target:
    """All images as one batch, whatever their type of number."""
    index = torch.arange(len(x)) if index is None else index
    return Target(model, noise, x, torch.as_tensor(y), index, torch.as_tensor(eps, dtype=torch.float64), seed)
