"""Stochastic gradient descent with momentum, as `torch.optim.SGD`, without the seconds that its constructor costs.

`torch.optim.Optimizer` imports torch's compiler when it is made, which takes longer than training on small data. The
arithmetic is torch's own fused kernel.
"""

from collections.abc import Iterable

import torch
from torch.optim.sgd import sgd


class Sgd:
    """v ← momentum·v + (g + weight_decay·p); p ← p − lr·v (Nesterov: p − lr·(g + weight_decay·p + momentum·v)).

    v starts as the first gradient. `parameters` are (name, parameter) pairs; those without a gradient are left alone.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
    ):
        self.parameters = dict(parameters)
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity: dict[str, torch.Tensor] = {}

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that a resumed run needs, by name."""
        return {f"momentum.{name}": tensor for name, tensor in self.velocity.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take up what `state` returned."""
        for name, parameter in self.parameters.items():
            stored = state.get(f"momentum.{name}")
            if stored is not None:
                # In the layout of the parameter, as `step` would have made it: same layout, same kernels, same bits.
                self.velocity[name] = torch.empty_like(parameter, requires_grad=False).copy_(stored)

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self, lr: float, weight_decay: float = 0.0) -> None:
        """Update the parameters from their gradients."""
        names = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        # The kernel starts all velocities of a call or none, so that late starters need a call of their own.
        for known in (True, False):
            self._update([name for name in names if (name in self.velocity) == known], lr, weight_decay)

    @torch.no_grad()
    def _update(self, names: list[str], lr: float, weight_decay: float) -> None:
        if not names:
            return
        velocity = [self.velocity.get(name) for name in names]
        gradients = [gradient for name in names if (gradient := self.parameters[name].grad) is not None]
        sgd(
            [self.parameters[name] for name in names],
            gradients,
            velocity,
            has_sparse_grad=False,
            foreach=False,
            fused=True,
            weight_decay=weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )
        self.velocity |= {name: v for name, v in zip(names, velocity, strict=True) if v is not None}
