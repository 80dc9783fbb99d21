"""The MNIST network of the double-sampling paper: four convolutions, three linear layers."""

from torch import nn


def mnist_43(classes: int) -> nn.Sequential:
    """[rows, 1, 28, 28] → logits [rows, classes]; 1,974,762 parameters with 10 classes, no batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, stride=1, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, stride=1, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, classes),
    )
