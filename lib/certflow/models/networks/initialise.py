"""Initial weights that several networks share."""

import math

from torch import nn


def he_fan_out(network: nn.Module) -> None:
    """Convolution weights ~ N(0, 2 / (k² · output channels)) in place (He et al. 2015, backward case); the rest stays.

    Batch normalisation starts at weight 1, bias 0, and linear layers as PyTorch leaves them: the field's CIFAR ResNets.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / (height * width * layer.out_channels)))
