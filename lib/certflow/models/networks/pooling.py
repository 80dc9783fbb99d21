"""What a network of the field does with a convolution's outputs: max pooling over 2×2, then ReLU."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn


def relu_pool(
    convolution: nn.Conv2d, x: Float[torch.Tensor, "rows inputs height width"]
) -> Float[torch.Tensor, "rows outputs down across"]:
    """ReLU of the largest of each 2×2 outputs.

    Where the convolution has a way of its own to do all three (`certflow.training.fast.convolutions`) and takes these images,
    it does.
    """
    together = getattr(convolution, "_relu_pool", None)
    if together is not None and together.takes(x):
        return together(x)
    # ReLU after the pooling: the same bits as before it (both are monotone), on a quarter of the elements.
    return F.relu(F.max_pool2d(convolution(x), 2))
