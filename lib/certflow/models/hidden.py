"""What a network's hidden layers give, from one ordinary pass: layers found by name, outputs pooled where they appear.

Nothing is known of the kind of network or of its input. Layers are modules; their order is the order in which they answer.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from certflow.errors import listed
from certflow.models import words
from certflow.models.modes import in_mode
from certflow.models.resizing import Network

Reduction = Literal["auto", "mean", "cls", "flatten"]
"""How an output becomes a vector per row. `auto`, `mean`: mean over pixels or tokens. `cls`: first token. `flatten`: all."""
Choice = Literal["stages", "blocks"] | list[str]
"""`stages`: the network's top-level parts. `blocks`: with the members of each stage. Or modules by name."""


def hidden_layers(network: nn.Module, x: torch.Tensor, which: Choice = "stages") -> list[str]:
    """Names of the network's hidden layers, as in `named_modules`, in forward order. x: a small input, such as one image.

    Left out are parts that answer more than once or never, those that only rescale what the part before gave (normalisation,
    activation, dropout, reshaping), and the one that gives the logits. ValueError where nothing is left, or a name given has
    no output that can be used.
    """
    modules = dict(network.named_modules())
    named = not isinstance(which, str)
    wanted = list(which) if named else list(dict.fromkeys(_parts(network, which)))
    unknown = [name for name in wanted if name not in modules]
    if unknown:
        raise ValueError(f"layers: no module {unknown[0]!r}; there are {listed(name for name in modules if name)}")
    x = torch.cat([x[:1], x[:1]])  # of one row, what is the same for all rows looks like a row
    seen, logits = _answers(network, x, [modules[name] for name in wanted])
    usable = {}
    for name in wanted:
        calls = seen.get(modules[name], [])
        problem = _problem(calls, len(x))
        if problem is None and (named or _adds(modules[name], calls[0], logits)):
            usable[name] = calls[0].when
        elif problem is not None and named:
            raise ValueError(f"layers: {name} {problem}; name another module")
    if not usable:
        raise ValueError(f"layers: {type(network).__name__} has no hidden layer that can be found by itself; name some")
    return sorted(usable, key=lambda name: usable[name])


_known: WeakKeyDictionary[nn.Module, dict[str, list[str]]] = WeakKeyDictionary()
"""Network → its layers by choice: looking for them takes a pass."""


def known_layers(network: nn.Module, x: torch.Tensor, which: Choice) -> list[str]:
    """`hidden_layers`, looked for once for each network."""
    found = _known.setdefault(network, {})
    if str(which) not in found:
        found[str(which)] = hidden_layers(network, x, which)
    return found[str(which)]


@contextmanager
def captured(
    network: nn.Module, names: Sequence[str], how: Reduction = "auto", mask: torch.Tensor | None = None
) -> Iterator[dict[str, torch.Tensor]]:
    """Within this context every pass puts float32 [rows, dim] of each named layer into the mapping that is given.

    mask: [rows, tokens], 1 where a token counts. Outputs are pooled at once, before anything overwrites them in place.
    """
    found: dict[str, torch.Tensor] = {}

    def keeper(name: str):
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            output = _tensor(output)
            if output is None:
                raise ValueError(f"layers: {name} gives something other than a tensor; name another module")
            pooled = reduced(output, how, mask)
            # Where nothing was pooled it is the output itself, which the next module may write over.
            found[name] = pooled.clone() if pooled.data_ptr() == output.data_ptr() else pooled

        return keep

    handles = [network.get_submodule(name).register_forward_hook(keeper(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def reduced(output: torch.Tensor, how: Reduction = "auto", mask: torch.Tensor | None = None) -> torch.Tensor:
    """float32 [rows, dim] of an output [rows, dim], [rows, tokens, dim] or [rows, channels, *space]."""
    output = output.float()
    if how == "flatten" or output.dim() == 2:
        return output.flatten(1)
    if how == "cls":
        if output.dim() != 3:
            raise ValueError(f"reduce: cls takes the first token of [rows, tokens, dim], got {list(output.shape)}")
        return output[:, 0]
    if output.dim() > 3:
        return output.flatten(2).mean(2)
    return output.mean(1) if mask is None else words.mean(output, mask)


def _parts(network: nn.Module, which: str) -> Iterator[str]:
    """Names of the top-level parts, or of the blocks; behind the normalisation where the network begins with one."""
    root, prefix = (network[1], "1.") if isinstance(network, Network) else (network, "")
    known = getattr(root, "layer_names", None)
    if isinstance(known, list):  # a network that knows its layers, which are not all at its top
        yield from (prefix + name for name in known)
        return
    for name, child in root.named_children():
        yield from _blocks(prefix + name, child) if which == "blocks" else _stages(prefix + name, child)


def _stages(name: str, module: nn.Module) -> list[str]:
    """The part itself; its members where it is a chain of chains, as in networks that keep all stages in one."""
    if isinstance(module, nn.Sequential) and len(module) > 1 and all(isinstance(m, nn.Sequential) for m in module):
        return [f"{name}.{inner}" for inner, _ in module.named_children()]
    return [name]


def _blocks(name: str, module: nn.Module) -> Iterator[str]:
    """The members of chains, of chains in chains, and of a chain that is all that a part holds."""
    children = list(module.named_children())
    if isinstance(module, nn.Sequential) or (len(children) == 1 and isinstance(children[0][1], nn.Sequential)):
        for inner, child in children:
            yield from _blocks(f"{name}.{inner}", child)
    else:
        yield name


class _Call(NamedTuple):
    """One call of a module in a pass."""

    when: int
    """Its place among all calls."""
    given: int | None
    """How many numbers the module was given."""
    output: torch.Tensor | None
    place: tuple[int, int] | None
    """See `_place`, of the output when it was answered: later modules may work in place."""


def _place(output: torch.Tensor) -> tuple[int, int]:
    """Where an output lies in memory, and how many numbers it has."""
    return output.data_ptr(), output.numel()


def _answers(
    network: nn.Module, x: torch.Tensor, modules: Sequence[nn.Module]
) -> tuple[dict[nn.Module, list[_Call]], tuple[int, int]]:
    """The calls of each module, and the place of the logits, from one pass in eval mode."""
    seen: dict[nn.Module, list[_Call]] = {}
    count = itertools.count()

    def note(module: nn.Module, given: Any, output: Any) -> None:
        given, output = _tensor(given), _tensor(output)
        numbers, place = None if given is None else given.numel(), None if output is None else _place(output)
        seen.setdefault(module, []).append(_Call(next(count), numbers, output, place))

    handles = [module.register_forward_hook(note) for module in dict.fromkeys(modules)]
    try:
        with torch.no_grad(), in_mode(network, training=False):
            logits = _tensor(network(x))
        if logits is None:
            raise ValueError(f"{type(network).__name__} gives something other than logits")
    finally:
        for handle in handles:
            handle.remove()
    return seen, _place(logits)


def _problem(calls: list[_Call], rows: int) -> str | None:
    """Why the calls of a module give no representation of each row."""
    if len(calls) != 1:
        return f"answers {len(calls)} times in a pass"
    output = calls[0].output
    if output is None or output.dim() < 2 or len(output) != rows or not output.is_floating_point():
        return "does not answer with numbers of each row"
    return None


def _adds(module: nn.Module, call: _Call, logits: tuple[int, int]) -> bool:
    """Whether a part does more than rescale or reshape what it was given, and its output is not the logits."""
    same_size = call.place is not None and call.given == call.place[1]
    rescales = same_size and all(weight.dim() < 2 for weight in module.parameters())
    return not rescales and call.place != logits


def _tensor(output: Any) -> torch.Tensor | None:
    """The output, or the first of several."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, torch.Tensor) else None
