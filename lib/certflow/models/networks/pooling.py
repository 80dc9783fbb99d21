"""What a network of the field does with a convolution's outputs: max pooling over 2×2, then ReLU."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

TOGETHER = "_relu_pool"
"""The attribute of a convolution that does all three at once, or returns None (`certflow.training.fast.convolutions`)."""


def relu_pool(
    convolution: nn.Conv2d, x: Float[torch.Tensor, "rows inputs height width"]
) -> Float[torch.Tensor, "rows outputs down across"]:
    """ReLU of the largest of each 2×2 outputs; at once while the convolution has a way to."""
    together = getattr(convolution, TOGETHER, None)
    y = None if together is None else together(x)
    # ReLU after the pooling: the same bits as before it (both are monotone), on a quarter of the elements.
    return F.relu(F.max_pool2d(convolution(x), 2)) if y is None else y
