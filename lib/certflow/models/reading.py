"""Tensors from weight files made elsewhere, read without running anything in them, and what else lies there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from certflow.errors import ArtefactError, UnreadableError, short_of_memory
from certflow.files.intact import brief, withheld
from certflow.models.containers import FORMAT_ERRORS, Container, opened, values
from certflow.models.pickles import Inert, Stored
from certflow.models.sniffing import SAVE, misnomer

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Where training scripts put the weights; these come first where nothing else decides."""
AVERAGED = ("ema", "averaged", "average", "avg", "swa", "shadow")
"""Words of names under which running averages of the weights lie."""
DEPTH, MAPPINGS = 4, 500
"""How deep mappings of tensors are looked for, and at most how many."""
DAMAGE = (
    *FORMAT_ERRORS,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What can go wrong in a damaged file."""


@dataclass(frozen=True)
class Mapped:
    """A mapping with tensors in it. `place`: the names that lead to it, joined by slashes; "" at the top."""

    place: str
    tensors: dict[str, Any]
    others: Mapping[str, str] = field(default_factory=dict)
    """What else lies in it, and tensors of a kind that is not read: name → class."""


@dataclass(frozen=True)
class WeightFile:
    """An open weight file: its format, every mapping with tensors in it, and what lies beside them."""

    path: Path
    container: Container
    mappings: tuple[Mapped, ...]

    @property
    def what(self) -> str:
        return self.container.what

    @property
    def beside(self) -> tuple[str, ...]:
        """What lies at the top besides mappings of tensors: name, and the class of objects that were not made."""
        content = self.container.content
        if not isinstance(content, Mapping):
            return ()
        places = {mapped.place.partition("/")[0] for mapped in self.mappings}
        return tuple(
            f"{name} ({_class(value)})" if isinstance(value, Inert) else str(name)
            for name, value in content.items()
            if str(name) not in places and not _is_tensor(value)
        )

    def read(self, tensors: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The values of some tensors of a mapping. Raises `ArtefactError` where they are damaged."""
        try:
            return values(self.container, tensors)
        except DAMAGE as error:
            raise _damaged(self.path, error) from error


@contextmanager
def weight_file(path: str | Path) -> Iterator[WeightFile]:
    """A weight file, open; its tensors have shapes and dtypes, and no values yet.

    The format is recognised by the content, not by the name: safetensors, or `torch.save` (both of its formats). Nothing in it
    is run: objects beside the weights are replaced by stand-ins that hold nothing. Raises `ArtefactError` for a missing or
    damaged file, and for one that holds no weights, with what it is and how to mend it.
    """
    path = Path(path)
    with ExitStack() as held:
        try:
            wrong = misnomer(path)
            if wrong is not None:
                raise ArtefactError(f"{path}: {wrong}")
            container = held.enter_context(opened(path))
        except FileNotFoundError as error:
            raise ArtefactError(f"{path}: no such file") from error
        except DAMAGE as error:
            raise _damaged(path, error) from error
        mappings = tuple(_mappings(container.content))
        if not mappings:
            raise ArtefactError(f"{path}: {_without_weights(container.content)}")
        yield WeightFile(path, container, mappings)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of the mapping of a weight file that is most likely the weights: by name, on the CPU, in the file's order.

    It is the first of those that hold at least half as many tensors as the largest, plain weights before averages and
    `CONTAINERS` before other names. Errors as of `weight_file`.
    """
    with weight_file(path) as file:
        return file.read(likeliest(file.mappings).tensors)


def likeliest(mappings: Sequence[Mapped]) -> Mapped:
    """The mapping that looks most like the weights, where the network is not known."""
    most = max(len(mapped.tensors) for mapped in mappings)
    large = [mapped for mapped in mappings if 2 * len(mapped.tensors) >= most]
    return min(large, key=lambda mapped: (is_average(mapped.place), container_rank(mapped.place)))


def container_rank(place: str) -> int:
    """Position of a place among `CONTAINERS`; the top comes first, other names last."""
    return 0 if not place else 1 + CONTAINERS.index(place) if place in CONTAINERS else 1 + len(CONTAINERS)


def is_average(name: str) -> bool:
    """Whether a place or prefix is named as one of running averages."""
    words = name.lower().replace(".", "_").replace("/", "_").split("_")
    return any(word in AVERAGED or word.removeprefix("model").removesuffix("model") in AVERAGED for word in words)


def _mappings(content: Any) -> Iterator[Mapped]:
    """Every mapping with a tensor in it, those at the top first; each once, however often the file refers to it."""
    level: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    found = 0
    for _ in range(DEPTH):
        below: list[tuple[str, Any]] = []
        for place, value in level:
            if id(value) in seen or found >= MAPPINGS:
                continue
            seen.add(id(value))
            items = _items(value)
            tensors = {name: each for name, each in items if _is_tensor(each)} if isinstance(value, Mapping) else {}
            if tensors:
                found += 1
                yield Mapped(place, tensors, {name: _class(each) for name, each in items if not _is_tensor(each)})
            below += [(f"{place}/{name}" if place else name, each) for name, each in items]
        level = below


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(name, each) for name, each in value.items() if isinstance(name, str)]
    return [(str(number), each) for number, each in enumerate(value)] if isinstance(value, list | tuple) else []


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Stored | torch.Tensor)


def _class(value: Any) -> str:
    return value.origin if isinstance(value, Inert) else type(value).__name__


def _without_weights(content: Any) -> str:
    """What a file without a mapping of tensors holds, and what to do."""
    if isinstance(content, Inert):
        return (
            f"holds a whole model or other object: it needs the Python object {content.origin} to be unpickled, which could "
            f"run any code, so it is refused. Convert the file where it was made, if you trust it: {SAVE}"
        )
    if not isinstance(content, Mapping):
        what = "tensor" if isinstance(content, Stored) else type(content).__name__
        return f"holds a {what}, not a mapping from names to tensors; save the weights: {SAVE}"
    objects = [f"{name} is a whole {value.origin}" for name, value in content.items() if isinstance(value, Inert)]
    found = ", ".join(str(key) for key in list(content)[:8]) or "nothing"
    what = f"{'; '.join(objects[:4])}, which could run any code when unpickled and is refused; " if objects else ""
    return f"holds no weights; its entries are {found}; {what}save the weights: {SAVE}"


def _damaged(path: Path, error: BaseException) -> ArtefactError:
    if withheld(error):
        return UnreadableError(f"{path}: could not be read ({brief(error)}); mend that, and run again")
    if short_of_memory(error):
        return UnreadableError(f"{path}: needs more memory than there is; use a larger machine, and run again")
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ArtefactError(
        f"{path}: cannot be read, it is damaged or no weight file ({said[:200]}); fetch or save it again"
    )
