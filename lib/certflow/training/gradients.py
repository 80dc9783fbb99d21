"""What is done to gradients between the backward pass and the optimiser's step."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from certflow.training.batch import Batch

Stats = dict[str, torch.Tensor]


def accumulated(
    step: Callable[[Batch], Stats], parts: Sequence[Batch], parameters: Mapping[str, torch.nn.Parameter]
) -> Stats:
    """The gradient and statistics of a mini-batch from those of its parts, each a mean over its images.

    `step` leaves a part's gradient, and no other, in `.grad`; afterwards it holds the mean over all images. With one part
    these are the bits of that part's step.
    """
    if len(parts) == 1:
        return step(parts[0])
    images, sums, found = sum(len(part.y) for part in parts), {}, []
    for part in parts:
        share = len(part.y) / images
        stats = step(part)
        found.append({name: value * share for name, value in stats.items()})
        _add(sums, parameters, share)
    for name, parameter in parameters.items():
        parameter.grad = sums.get(name)
    return {name: torch.stack([stats[name] for stats in found]).sum(0) for name in found[0]}


@torch.no_grad()
def _add(sums: dict[str, torch.Tensor], parameters: Mapping[str, torch.nn.Parameter], share: float) -> None:
    """Add `share` times every gradient to its sum; a recorded step overwrites the gradients that it leaves."""
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue
        if name in sums:
            sums[name].add_(parameter.grad, alpha=share)
        else:
            sums[name] = parameter.grad * share


@torch.no_grad()
def clip(parameters: Iterable[torch.nn.Parameter], norm: float) -> None:
    """Scale the gradient of each parameter by min(1, norm/(its l2 norm + 1e-6)), each by itself, in place.

    Not the norm of all together: one tensor with a steep gradient does not slow the others. The host does not wait.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            size = torch.linalg.vector_norm(parameter.grad)
            parameter.grad.mul_((norm / (size + 1e-6)).clamp(max=1.0))
