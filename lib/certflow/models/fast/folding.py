"""The network that is sampled: batch normalisation and input normalisation folded into the convolutions, once.

Batch normalisation after a convolution is an affine map per output channel: w' = w·γ/√(v+ε), b' = β + (b − μ)·γ/√(v+ε). Input
normalisation cannot go into the bias, because zero padding pads *normalised* images: the mean is subtracted from the clean
image once (`shift`), noise is added to the difference, and 1/sd scales the first convolution's weights. Both are exact up to
rounding. What does not match these patterns stays as it is.
"""

import copy
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import fx, nn
from torch.nn.modules.module import _has_any_global_hook

from certflow.models.fast.opaque import Tracer
from certflow.models.normalise import Normalise


class FoldedModel(nn.Module):
    """`network(x − shift)`, the same function as the module that was folded; `shift` [channels, 1, 1], or None for no shift.

    `folded` says whether anything was. For many noisy copies of one image, subtract `shift` from the clean image once and call
    `network`.
    """

    shift: torch.Tensor | None

    def __init__(self, shift: torch.Tensor | None, network: nn.Module, folded: bool):
        super().__init__()
        self.register_buffer("shift", shift)
        self.network = network
        self.folded = folded

    def forward(self, x: Float[torch.Tensor, "rows channels height width"]) -> Float[torch.Tensor, "rows classes"]:
        return self.network(x if self.shift is None else x - self.shift)


def fold(module: nn.Module) -> FoldedModel:
    """An eval-mode copy of `module` in float32 with everything folded that can be; `module` itself is not changed.

    A network that cannot be traced symbolically is returned as it is. Whether both agree is for the caller to check, as
    `certflow.sampling.preparing` does.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    # On the CPU, where folding is the same whatever the device. Complex weights stay complex.
    network = copy.deepcopy(module).to("cpu").float().eval()
    graph = _trace(network)
    if graph is None:
        return FoldedModel(None, network.to(device), folded=False).eval()
    shift = _fold_input(network, graph)
    absorbed = _fold_normalisations(network, graph)
    return FoldedModel(shift, network, folded=absorbed > 0 or shift is not None).eval().to(device)


class _Tracer(Tracer):
    """Looks into every module but torch's own, opaque ones, our normalisation and anything derived from batch normalisation."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Normalise | nn.BatchNorm2d) or super().is_leaf_module(module, name)


def _trace(module: nn.Module) -> fx.Graph | None:
    """The graph of the modules that are called between input and output; None for code that cannot be followed."""
    try:
        return _Tracer().trace(module)
    # Foreign forward code may raise anything when it is given a symbol; such a model is sampled unfolded.
    except Exception:
        return None


def _readers(graph: fx.Graph) -> dict[str, str | None]:
    """Each module that is called exactly once → the one module that reads its output, or None if others read it too."""
    calls = [node for node in graph.nodes if node.op == "call_module"]
    names = [str(node.target) for node in calls]
    return {str(node.target): _reader(node, names) for node in calls if names.count(str(node.target)) == 1}


def _reader(node: fx.Node, names: list[str]) -> str | None:
    users = list(node.users)
    single = len(users) == 1 and users[0].op == "call_module" and names.count(str(users[0].target)) == 1
    return str(users[0].target) if single else None


def _fold_input(network: nn.Module, graph: fx.Graph) -> torch.Tensor | None:
    """Move input normalisation into the convolution that follows it, in place; what is left to subtract, if anything is."""
    readers = _readers(graph)
    start = next(node for node in graph.nodes if node.op == "placeholder")
    name = _reader(start, list(readers))
    reader = None if name is None else readers[name]
    if name is None or reader is None:
        return None
    layer, first = network.get_submodule(name), network.get_submodule(reader)
    if not isinstance(layer, Normalise) or layer.mean is None or layer.sd is None:
        return None
    if not isinstance(first, nn.Conv2d) or not _plain(first, nn.Conv2d) or first.groups != 1:
        return None
    first.weight = parameter_like(first.weight.double() / layer.sd.double(), first.weight)
    network.set_submodule(name, nn.Identity())
    return layer.mean.expand(first.in_channels, 1, 1).clone()


def normalised_convolutions(network: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch normalisations that alone read their output; none in a network that cannot be traced."""
    graph = _trace(network)
    return [] if graph is None else [pair for pair, _, _ in _normalised_convolutions(network, graph)]


def _normalised_convolutions(
    network: nn.Module, graph: fx.Graph
) -> Iterator[tuple[tuple[nn.Conv2d, nn.BatchNorm2d], str, nn.Module]]:
    """Convolutions and the batch normalisations that alone read their output; the latter's name, and what else it does."""
    for name, reader in _readers(graph).items():
        convolution, norm = network.get_submodule(name), None if reader is None else network.get_submodule(reader)
        if reader is None or not isinstance(convolution, nn.Conv2d) or not _plain(convolution, nn.Conv2d):
            continue
        if isinstance(norm, nn.BatchNorm2d) and (rest := _after_affine(norm)) is not None:
            yield (convolution, norm), reader, rest


def _fold_normalisations(network: nn.Module, graph: fx.Graph) -> int:
    """Fold every batch normalisation that is the only reader of a convolution, in place; how many there were."""
    found = list(_normalised_convolutions(network, graph))
    for (convolution, norm), reader, rest in found:
        _absorb(convolution, norm)
        network.set_submodule(reader, rest)
    return len(found)


def _after_affine(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What a batch normalisation does after its affine map; None where it has no fixed statistics, or does more."""
    if norm.running_mean is None or norm.running_var is None or hooked(norm):
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    # timm's BatchNormAct2d, known by its parts so that timm need not be imported.
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    return nn.Sequential(drop, act) if isinstance(drop, nn.Module) and isinstance(act, nn.Module) else None


def _absorb(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """w' = w·γ/√(v+ε), b' = β + (b − μ)·γ/√(v+ε), computed in float64."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("batch normalisation without running statistics is not one fixed function")
    scale = (variance.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    bias = -mean.double() if convolution.bias is None else convolution.bias.double() - mean
    bias = bias * scale if norm.bias is None else bias * scale + norm.bias.double()
    convolution.weight = parameter_like(convolution.weight.double() * scale[:, None, None, None], convolution.weight)
    convolution.bias = parameter_like(bias, convolution.weight)


def parameter_like(values: torch.Tensor, like: torch.Tensor) -> nn.Parameter:
    """A parameter that is not trained, of another one's type."""
    return nn.Parameter(values.detach().to(like.dtype), requires_grad=False)


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Exactly of that class: subclasses may change their weights at every call, and so may hooks."""
    return type(module) is kind and not hooked(module)


def hooked(module: nn.Module) -> bool:
    """Whether something of the user's is done at every call, or at that of every module."""
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(own) or _has_any_global_hook()
