"""Small networks, data and file writers for the tests of models; no test in here."""

import torch
from training_examples import Images as ArraySplit  # noqa: F401

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class

DIGITS = DataInfo(10, (1, 8, 8))
MNIST = DataInfo(10, (1, 28, 28))
CIFAR = DataInfo(10, (3, 32, 32), mean=(0.4914, 0.4822, 0.4465), sd=(0.2023, 0.1994, 0.2010))
IMAGENET = DataInfo(1000, (3, 64, 64), mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))


def spec(kind, **fields):
    return spec_class("model", kind)(**fields)


def randomise(module, seed=0):
    """Batch-normalisation statistics and affine maps as a trained network might have them, none of them trivial."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            with torch.no_grad():
                layer.running_mean.normal_(0, 0.3, generator=generator)
                layer.running_var.uniform_(0.3, 3, generator=generator)
                if layer.weight is not None:
                    layer.weight.uniform_(0.5, 1.5, generator=generator)
                    layer.bias.normal_(0, 0.2, generator=generator)
    return module.eval()


def images(rows, shape, seed=0):
    """Noisy images, some values outside [0,1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, *shape, generator=generator) + 0.25 * torch.randn(rows, *shape, generator=generator)
