"""Wide residual networks (Zagoruyko and Komodakis 2016): normalisation and ReLU before each convolution.

Submodules bear the names that most published checkpoints of adversarially robust WRNs use (`block1.layer.0.convShortcut`).
"""

import torch
from jaxtyping import Float
from torch import nn

from certflow.models.networks.initialise import he_fan_out


class WideBlock(nn.Module):
    """Two normalised 3×3 convolutions; where the number of channels changes, the shortcut starts after the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut = None
        if inputs != outputs or stride != 1:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        return shortcut + self.conv2(self.relu(self.bn2(self.conv1(out))))


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int):
        super().__init__()
        first = WideBlock(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(WideBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-depth-width for 32×32 images, depth 6n+4; WRN-28-10 has 36,479,194 parameters with 10 classes."""

    def __init__(self, depth: int, width: int, channels: int, classes: int):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = _Stage(16, 16 * width, blocks, stride=1)
        self.block2 = _Stage(16 * width, 32 * width, blocks, stride=2)
        self.block3 = _Stage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(8)
        self.fc = nn.Linear(64 * width, classes)
        he_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Float[torch.Tensor, "rows channels 32 32"]) -> Float[torch.Tensor, "rows classes"]:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))
