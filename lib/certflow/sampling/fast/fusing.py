"""The folded network with what follows a convolution done while its result is still in registers.

Max pooling over 2×2 becomes three elementwise maxima, which are vectorised where torch's pooling of channels-last images is
not. On the CPU, convolution + ReLU and convolution + residual (+ ReLU) become one oneDNN kernel each, and pooling belongs to
the convolution before it, in either order with ReLU. On a GPU, convolution (+ residual) + ReLU become one cuDNN kernel instead
of three or four: in a ResNet-110 in bfloat16, what follows a convolution took two thirds of the convolution's time.
The values are the same up to rounding of the convolutions (pooling and ReLU are exact). What does not match stays as it is.
"""

import copy
import operator
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import fx, nn

from certflow.errors import short_of_memory
from certflow.models.fast.added import AddedConv2d
from certflow.models.fast.folding import hooked
from certflow.models.fast.opaque import trace
from certflow.models.fast.winograd import Images

RELUS = (F.relu, torch.relu, F.relu_, torch.relu_, "relu", "relu_")
"""Functions, and names of methods, that a traced call may have as its target."""
ADDS = (operator.add, torch.add)
"""A traced `+=` is an addition, too."""
EIGHT, FEW = 8, 3
"""Channels that cuDNN's kernels for 16-bit numbers read at a time, and as many as an image has: with other numbers of them the
kernel that ends with ReLU is the slower one (20 to 50 channels of a LeNet: 0.30 instead of 0.22 ms on an H200)."""


class FusedConv2d(nn.Module):
    """pool(relu(conv(x) + other)), each of the three optional, but that nothing is added before pooling over 2×2."""

    def __init__(self, convolution: nn.Conv2d, relu: bool, pool: bool = False):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.geometry = geometry_of(convolution)
        self.after, self.pool = "relu" if relu else "none", pool

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        kernel = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            y = kernel(x, self.weight, self.bias, *self.geometry, self.after, [], "")
            return pooled(y) if self.pool else y
        after = "relu" if self.after == "relu" else None
        return kernel.binary(x, other, self.weight, self.bias, *self.geometry, "add", 1.0, after, [], "")


class CudnnConv2d(nn.Module):
    """relu(conv(x) + other) by one kernel of a GPU, `other` optional."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        padding, stride, dilation, groups = geometry_of(convolution)
        self.geometry = stride, padding, dilation, groups

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        if other is None:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, *self.geometry)
        return torch.cudnn_convolution_add_relu(x, self.weight, other, 1.0, self.bias, *self.geometry)


Convolution = nn.Conv2d | FusedConv2d


def geometry_of(layer: Convolution) -> tuple[list[int], list[int], list[int], int]:
    """Padding, stride, dilation and groups."""
    if isinstance(layer, FusedConv2d):
        return layer.geometry
    return [*map(int, layer.padding)], [*layer.stride], [*layer.dilation], layer.groups


def pooled(x: Images) -> Images:
    """Max pooling over 2×2 with stride 2; a last odd row or column is left out, as in `max_pool2d`."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


class PairwiseMaxPool2d(nn.Module):
    """`pooled` as a layer."""

    def forward(self, x: Images) -> Images:
        return pooled(x)


class Traced(nn.Module):
    """A traced module that raises its errors without printing its code on stderr first, as torch's own call of it does."""

    def __init__(self, module: fx.GraphModule):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module.forward(x)


def fuse(network: nn.Module, x: torch.Tensor) -> fx.GraphModule | None:
    """A copy of `network` (float32, eval mode) with fused kernels, or None where nothing can be fused.

    x: float32 [rows, channels, height, width], images on the network's device, to find the shapes of what is inside. None also
    where the network cannot be traced, or where this build of torch has no oneDNN. Whoever uses the copy compares it with the
    network.
    """
    on_cpu = x.device.type == "cpu"
    if on_cpu and not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return None
    return _rewritten(network, x, on_cpu)


def _rewritten(network: nn.Module, x: torch.Tensor, on_cpu: bool) -> fx.GraphModule | None:
    """`fuse` with the kernels of a CPU or of a GPU."""
    try:
        module = trace(copy.deepcopy(network))
        with torch.inference_mode():
            _Shapes(module).run(x.clone())
    # Foreign forward code may raise anything when it is given a symbol; such a network runs as it is.
    except Exception as error:
        if short_of_memory(error):
            raise
        return None
    _drop_identities(module)
    changed = [_pool_pairwise(module), _fuse_convolutions(module, FusedConv2d if on_cpu else _for_gpu, pools=on_cpu)]
    if on_cpu:
        changed.append(_fuse_sums(module))
    module.recompile()
    return module if any(changed) else None


class _Shapes(fx.Interpreter):
    """Runs a network and notes the shape of every tensor in it."""

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        if isinstance(value, torch.Tensor):
            node.meta["shape"] = value.shape
        return value


def _drop_identities(module: fx.GraphModule) -> None:
    """Remove calls that return their input, so that neighbours become visible."""
    for node in list(module.graph.nodes):
        if node.op == "call_module" and type(_called(module, node)) in (nn.Identity, nn.Dropout):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _pool_pairwise(module: fx.GraphModule) -> bool:
    """Put ours for every pooling over pairs; whether there was one."""
    changed = False
    for node in list(module.graph.nodes):
        if _is_pool(module, node):
            _replace(module, node, PairwiseMaxPool2d(), (node.args[0],))
            changed = True
    return changed


def _for_gpu(layer: nn.Conv2d, relu: bool, pool: bool) -> nn.Module | None:
    """None where cuDNN has no such kernel (it ends with ReLU), only a slow one, or one that was not tried (of groups)."""
    whole = layer.out_channels % EIGHT == 0 and (layer.in_channels % EIGHT == 0 or layer.in_channels <= FEW)
    return CudnnConv2d(layer) if relu and whole and layer.groups == 1 else None


def _fuse_convolutions(
    module: fx.GraphModule, fused: Callable[[nn.Conv2d, bool, bool], nn.Module | None], pools: bool
) -> bool:
    """Fuse every convolution with what follows it, of two that are added the first one with the other for its residual; whether
    there was one.

    `fused` makes the layer from the convolution, whether ReLU follows, and whether pooling does, if its kernel `pools`.
    """
    changed = False
    for node in list(module.graph.nodes):
        layer = _convolution(module, node)
        if layer is None:
            continue
        last, other = node, None
        reader = _only_reader(node)
        if reader is not None and _is_sum(reader):
            last, other = reader, next(arg for arg in reader.args if arg is not node)
        last, relu, pool = _followers(module, last, pools and other is None)
        if last is node or any(_overwritten(module, value, node, last) for value in (node.args[0], other)):
            continue
        args = (node.args[0],) if other is None else (node.args[0], other)
        if (new := fused(layer, relu, pool)) is not None:
            _replace(module, last, new, args)
            changed = True
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    return changed


def _followers(module: fx.GraphModule, last: fx.Node, may_pool: bool) -> tuple[fx.Node, bool, bool]:
    """The last of the nodes that apply ReLU and pooling to a node's value, at most once each, and which of the two they do."""
    relu = pool = False
    while (reader := _only_reader(last)) is not None:
        if not relu and _is_relu(module, reader):
            relu = True
        elif (
            may_pool and not pool and reader.op == "call_module" and type(_called(module, reader)) is PairwiseMaxPool2d
        ):
            pool = True
        else:
            break
        last = reader
    return last, relu, pool


def _fuse_sums(module: fx.GraphModule) -> bool:
    """Fuse convolutions that know what they are added to, as opaque modules have them; whether there was one."""
    sums = [(name, part) for name, part in module.named_modules() if type(part) is AddedConv2d]
    plain = [(name, part.convolution) for name, part in sums if is_plain(part.convolution)]
    for name, convolution in plain:
        module.set_submodule(name, FusedConv2d(convolution, relu=False))
    return bool(plain)


def _replace(module: fx.GraphModule, node: fx.Node, new: nn.Module, args: tuple) -> None:
    """Call `new` on `args` in place of `node`."""
    name = f"fused_{node.name}"
    module.add_submodule(name, new)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, args)
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The part that a node of kind `call_module` calls: its target is the part's name."""
    return module.get_submodule(str(node.target))


def _only_reader(node: fx.Node) -> fx.Node | None:
    readers = list(node.users)
    return readers[0] if len(readers) == 1 else None


def _convolution(module: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    """The plain convolution that a node calls; None where it does something else."""
    if node.op != "call_module" or len(node.args) != 1:
        return None
    layer = _called(module, node)
    return layer if is_plain(layer) else None


def is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and not hooked(layer)


def _is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(_called(module, node)) is nn.ReLU
    return node.target in RELUS


def _is_sum(node: fx.Node) -> bool:
    """Whether a node adds two tensors of one shape."""
    if node.target not in ADDS or len(node.args) != 2 or node.kwargs:
        return False
    first, second = node.args
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node) or first is second:
        return False
    return first.meta.get("shape") is not None and first.meta["shape"] == second.meta.get("shape")


def _is_pool(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.target is F.max_pool2d:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        given = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    elif node.op == "call_module" and type(layer := _called(module, node)) is nn.MaxPool2d:
        given = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "ceil_mode")}
        given["return_indices"] = layer.return_indices
    else:
        return False
    pairs = [given["kernel_size"], given["stride"] or given["kernel_size"]]
    two = all(value in (2, (2, 2), [2, 2]) for value in pairs)
    flat = given["padding"] in (0, (0, 0)) and given["dilation"] in (1, (1, 1))
    return two and flat and not given["ceil_mode"] and not given["return_indices"]


def _overwritten(module: fx.GraphModule, value: object, start: fx.Node, stop: fx.Node) -> bool:
    """Whether anything between two nodes may change `value` in place, so that reading it later reads something else."""
    node = start.next
    while node is not stop:
        if value in node.args and _in_place(module, node):
            return True
        node = node.next
    return False


def _in_place(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(_called(module, node), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(name.endswith("_") or node.kwargs.get("inplace") or "out" in node.kwargs)
