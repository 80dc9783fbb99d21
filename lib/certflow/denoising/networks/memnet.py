"""MemNet (Tai et al. 2017), in the variant of denoised smoothing (Salman et al. 2020)."""

import torch
from jaxtyping import Float
from torch import nn

Images = Float[torch.Tensor, "rows channels height width"]


class Unit(nn.Sequential):
    """Batch normalisation, ReLU (in place, on what the normalisation made), convolution without bias."""

    def __init__(self, inside: int, outside: int, side: int):
        super().__init__()
        self.add_module("bn", nn.BatchNorm2d(inside))
        self.add_module("relu", nn.ReLU(inplace=True))
        self.add_module("conv", nn.Conv2d(inside, outside, side, padding=side // 2, bias=False))


class ResidualBlock(nn.Module):
    """x + unit(unit(x))."""

    def __init__(self, width: int):
        super().__init__()
        self.relu_conv1 = Unit(width, width, 3)
        self.relu_conv2 = Unit(width, width, 3)

    def forward(self, x: Images) -> Images:
        return x + self.relu_conv2(self.relu_conv1(x))


class MemoryBlock(nn.Module):
    """A chain of residual blocks, whose results a 1×1 unit mixes with those of all earlier memory blocks."""

    def __init__(self, width: int, residuals: int, memories: int):
        super().__init__()
        self.recursive_unit = nn.ModuleList(ResidualBlock(width) for _ in range(residuals))
        self.gate_unit = Unit((residuals + memories) * width, width, 1)

    def forward(self, x: Images, memories: list[Images]) -> Images:
        short = []
        for block in self.recursive_unit:
            x = block(x)
            short.append(x)
        return self.gate_unit(torch.cat([*short, *memories], dim=1))


class MemNet(nn.Module):
    """y + reconstruction of the last memory; 1,436,678 parameters with 3 channels, width 64, 3 memories of 6 residual blocks.

    The first batch normalisation sees the raw image. Keys as in `microsoft/denoised-smoothing`.
    """

    def __init__(self, channels: int, *, width: int = 64, memories: int = 3, residuals: int = 6):
        super().__init__()
        self.feature_extractor = Unit(channels, width, 3)
        self.reconstructor = Unit(width, channels, 3)
        self.dense_memory = nn.ModuleList(MemoryBlock(width, residuals, number + 1) for number in range(memories))

    def forward(self, y: Images) -> Images:
        x = self.feature_extractor(y)
        memories = [x]
        for block in self.dense_memory:
            x = block(x, memories)
            memories.append(x)
        return y + self.reconstructor(x)
