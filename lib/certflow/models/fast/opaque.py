"""Modules that tracers do not look into: they are called as they are, and what lies around them is still seen."""

from typing import Any

from torch import fx, nn


def is_opaque(module: nn.Module) -> bool:
    """Whether the module's class says `opaque = True`, for code that takes no symbol or needs nothing from a tracer."""
    return bool(getattr(type(module), "opaque", False))


class Tracer(fx.Tracer):
    """torch's tracer, which calls opaque modules as they are."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return is_opaque(module) or super().is_leaf_module(module, name)


def trace(module: nn.Module) -> fx.GraphModule:
    """As `torch.fx.symbolic_trace`, with opaque modules left whole."""
    graph: Any = Tracer().trace(module)
    return fx.GraphModule(module, graph, type(module).__name__)
