"""DRUNet (Zhang et al. 2021), the U-Net of residual blocks that is given the noise level; keys as in `cszn/DPIR`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

Images = Float[torch.Tensor, "rows channels height width"]
MULTIPLE = 8
"""Heights and widths must be multiples of this: three halvings."""


class ResidualBlock(nn.Module):
    """x + convolution(ReLU(convolution(x)))."""

    def __init__(self, width: int):
        super().__init__()
        self.res = nn.Sequential(_convolution(width, width), nn.ReLU(inplace=True), _convolution(width, width))

    def forward(self, x: Images) -> Images:
        return x + self.res(x)


class DRUNet(nn.Module):
    """From [rows, channels + 1, height, width], image and noise level, to the image; no bias, no normalisation.

    The last input plane holds the noise level in [0,1]-pixel units. Skips are sums, and the network gives the image, not the
    noise. Without biases it is homogeneous of degree 1: D(c·y, c·sigma) = c·D(y, sigma) for c > 0. Default sizes: 32,640,960
    parameters with 3 channels, 32,638,656 with one. Height and width are multiples of 8.
    """

    def __init__(self, channels: int, *, widths: Sequence[int] = (64, 128, 256, 512), blocks: int = 4):
        super().__init__()
        one, two, three, four = widths
        self.m_head = _convolution(channels + 1, one)
        self.m_down1 = _down(one, two, blocks)
        self.m_down2 = _down(two, three, blocks)
        self.m_down3 = _down(three, four, blocks)
        self.m_body = nn.Sequential(*(ResidualBlock(four) for _ in range(blocks)))
        self.m_up3 = _up(four, three, blocks)
        self.m_up2 = _up(three, two, blocks)
        self.m_up1 = _up(two, one, blocks)
        self.m_tail = _convolution(one, channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.orthogonal_(layer.weight, gain=GAIN)

    def forward(self, x: Float[torch.Tensor, "rows planes height width"]) -> Images:
        head = self.m_head(x)
        one = self.m_down1(head)
        two = self.m_down2(one)
        three = self.m_down3(two)
        x = self.m_up3(self.m_body(three) + three)
        x = self.m_up2(x + two)
        x = self.m_up1(x + one)
        return self.m_tail(x + head)


GAIN = 0.2
"""Of the orthogonal initial weights, as in the published training recipe."""


def _convolution(inside: int, outside: int) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, padding=1, bias=False)


def _down(inside: int, outside: int, blocks: int) -> nn.Sequential:
    halve = nn.Conv2d(inside, outside, 2, stride=2, bias=False)
    return nn.Sequential(*(ResidualBlock(inside) for _ in range(blocks)), halve)


def _up(inside: int, outside: int, blocks: int) -> nn.Sequential:
    double = nn.ConvTranspose2d(inside, outside, 2, stride=2, bias=False)
    return nn.Sequential(double, *(ResidualBlock(outside) for _ in range(blocks)))
