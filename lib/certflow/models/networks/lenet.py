"""LeNet with 20 and 50 filters of 5×5, the MNIST network of the field."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.models.networks.pooling import relu_pool


class LeNet(nn.Module):
    """Two convolutions and two linear layers; 431,080 parameters with 10 classes, 2.29 million multiplications per image."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: Float[torch.Tensor, "rows 1 28 28"]) -> Float[torch.Tensor, "rows classes"]:
        x = relu_pool(self.conv2, relu_pool(self.conv1, x))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
