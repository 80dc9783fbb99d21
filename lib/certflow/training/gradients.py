"""What is done to gradients between the backward pass and the optimiser's step."""

from collections.abc import Iterable

import torch


@torch.no_grad()
def clip(parameters: Iterable[torch.nn.Parameter], norm: float) -> None:
    """Scale the gradient of each parameter by min(1, norm/(its l2 norm + 1e-6)), each by itself, in place.

    Not the norm of all together: one tensor with a steep gradient does not slow the others. The host does not wait.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            size = torch.linalg.vector_norm(parameter.grad)
            parameter.grad.mul_((norm / (size + 1e-6)).clamp(max=1.0))
