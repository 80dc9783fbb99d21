"""Adam, and Adam followed by SGD, like the SGD beside it: torch's fused kernel without its constructor."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch.optim.adam import adam

from certflow.training.fast.sgd import Sgd

BETAS, EPS = (0.9, 0.999), 1e-8
"""b1 and b2, and what is added below the fraction line: the values of Kingma and Ba, which all recipes here use."""

Parameters = Iterable[tuple[str, torch.nn.Parameter]]


class Adam:
    """m ← b1·m + (1−b1)·g; v ← b2·v + (1−b2)·g²; p ← p − lr·m̂/(√v̂ + eps), m̂ and v̂ corrected for their start at 0.

    Weight decay is added to the gradient (Kingma and Ba 2015 with L2), or with `decoupled` shrinks p by lr·weight_decay
    (Loshchilov and Hutter 2019). `parameters` are (name, parameter) pairs; those without a gradient are left alone.
    rates: what the learning rate of a parameter is multiplied by, that of its decay too (1 where a name is missing).
    undecayed: names of parameters that weight decay leaves alone.
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        decoupled: bool = False,
        rates: Mapping[str, float] | None = None,
        undecayed: Collection[str] = (),
    ):
        self.parameters, self.decoupled = dict(parameters), decoupled
        self.groups: dict[tuple[float, bool], list[str]] = {}
        for name in self.parameters:
            self.groups.setdefault(((rates or {}).get(name, 1.0), name not in undecayed), []).append(name)
        self.moments: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self, lr: float, weight_decay: float = 0.0) -> None:
        """Update the parameters from their gradients."""
        for (rate, decayed), names in self.groups.items():
            self._update(names, lr * rate, weight_decay if decayed else 0.0)

    @torch.no_grad()
    def _update(self, names: list[str], lr: float, weight_decay: float) -> None:
        found = {name: self.parameters[name].grad for name in names}
        names = [name for name, gradient in found.items() if gradient is not None]
        gradients = [gradient for gradient in found.values() if gradient is not None]
        if not names:
            return
        for name in names:
            if name not in self.moments:
                self.moments[name] = _zeros(self.parameters[name])
        first, second, steps = map(list, zip(*(self.moments[name] for name in names), strict=True))
        adam(
            [self.parameters[name] for name in names],
            gradients,
            first,
            second,
            [],
            steps,
            foreach=False,
            fused=True,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=EPS,
            maximize=False,
        )

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that a resumed run needs, by name."""
        parts = ("first", "second", "steps")
        return {
            f"{part}.{name}": tensor
            for name, moments in self.moments.items()
            for part, tensor in zip(parts, moments, strict=True)
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take up what `state` returned."""
        for name, parameter in self.parameters.items():
            if f"first.{name}" in state:
                self.moments[name] = _zeros(parameter)
                for part, tensor in zip(("first", "second", "steps"), self.moments[name], strict=True):
                    tensor.copy_(state[f"{part}.{name}"])


class AdamThenSgd:
    """Adam for the first `switch` steps, then SGD, whose velocity starts anew."""

    def __init__(self, parameters: Parameters, *, switch: int, momentum: float):
        named = list(parameters)
        self.adam, self.sgd = Adam(named), Sgd(named, momentum=momentum)
        self.switch, self.taken = switch, 0

    def clear(self) -> None:
        """Forget the gradients."""
        self.adam.clear()

    def step(self, lr: float, weight_decay: float = 0.0) -> None:
        """Update the parameters from their gradients by the optimiser whose turn it is."""
        (self.adam if self.taken < self.switch else self.sgd).step(lr, weight_decay)
        self.taken += 1

    def state(self) -> dict[str, torch.Tensor]:
        """All tensors that a resumed run needs, by name."""
        return {**self.adam.state(), **self.sgd.state(), "taken": torch.tensor(self.taken)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take up what `state` returned."""
        self.adam.restore(state)
        self.sgd.restore(state)
        self.taken = int(state["taken"])


def _zeros(parameter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both moments in the parameter's layout, and the number of steps, as the fused kernel wants it."""
    first, second = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
    return (first, second, torch.zeros((), dtype=torch.float32, device=parameter.device))
