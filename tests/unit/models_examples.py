"""Small networks, data and file writers for the tests of models; no test in here."""

import numpy as np
import torch

from lib.data.base import DataInfo
from lib.registry import spec_class

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


class ArraySplit:
    """A split held in arrays: uint8 [n, channels, height, width] and int64 [n]."""

    def __init__(self, pixels, labels):
        self.pixels, self.labels = np.ascontiguousarray(pixels), np.asarray(labels, dtype=np.int64)

    def __len__(self):
        return len(self.labels)

    def read(self, indices):
        return self.pixels[indices]

    def describe(self, index):
        return f"image {index}"
