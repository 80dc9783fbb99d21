"""A convolution whose output is added to something: one module, so that both can become one kernel."""

import torch
from torch import nn


class AddedConv2d(nn.Module):
    """convolution(x) + other."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.convolution = convolution

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self.convolution(x) + other
