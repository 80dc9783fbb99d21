"""Pickles read without running anything in them: tensors become records of where their values lie, all else inert stand-ins.

A pickle is a program. Here none of its calls leads anywhere: every name that it asks for is answered by a stand-in that takes
any argument and does nothing, except for the few that put tensors and mappings together, which are answered by functions of
this module. So a file may hold an `argparse.Namespace`, a path or a whole optimiser beside its weights.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import torch

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}
"""Torch's storage classes by name; tensors of any other one, and quantised tensors, are left unread."""


class Inert:
    """Stands for an object that is not weights. `origin` is the name of its class in the file; what it held is dropped."""

    origin = "object"

    def __new__(cls, *arguments: Any, **settings: Any) -> "Inert":
        del arguments, settings
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **settings: Any):
        del arguments, settings

    def __call__(self, *arguments: Any, **settings: Any) -> "Inert":
        return self

    def _dropped(self, *arguments: Any) -> None:
        del arguments

    __setstate__ = __setitem__ = append = extend = add = _dropped


class Names(dict):
    """A mapping of any class in the file. Attributes that the file gives it are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        del state


class _Maker:
    """A function that a pickle may call. It cannot be altered by the pickle."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]):
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("sets the state of a function")


class Storage:
    """Numbers in a row somewhere in the file: their `key` there, their dtype, and how many to skip."""

    __slots__ = ("dtype", "key", "skip")

    def __init__(self, key: str, dtype: torch.dtype, skip: int = 0):
        self.key, self.dtype, self.skip = key, dtype, skip

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("sets the state of a storage")


class Stored:
    """A tensor whose values have not been read: `shape`, `dtype`, and where they lie (`storage`, `offset`, `stride`)."""

    __slots__ = ("dtype", "offset", "shape", "storage", "stride")

    def __init__(self, storage: Storage, dtype: torch.dtype, offset: int, shape: Iterable[int], stride: Iterable[int]):
        self.storage, self.dtype, self.offset = storage, dtype, storage.skip + _size(offset)
        self.shape, self.stride = torch.Size(map(_size, shape)), tuple(map(_size, stride))
        if len(self.shape) != len(self.stride):
            raise pickle.UnpicklingError("a tensor has as many sizes as strides")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("sets the state of a tensor")

    def reach(self) -> int:
        """How many numbers of its storage must be there."""
        if 0 in self.shape:
            return 0
        return self.offset + 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise pickle.UnpicklingError(f"{value!r} is not a size")
    return value


def _inert(origin: str) -> type[Inert]:
    return type("Inert", (Inert,), {"origin": origin, "__slots__": ()})


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Any:
    """`torch._utils._rebuild_tensor_v2` and its elders: rest is (requires_grad, hooks, flags for views)."""
    if not isinstance(storage, Storage) or (len(rest) > 2 and rest[2]):
        return _inert("tensor of a kind that is not read")()
    return Stored(storage, storage.dtype, offset, shape, stride)


def _typed(storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Any:
    """`torch._utils._rebuild_tensor_v3`, which names the dtype besides."""
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or (rest and rest[0]):
        return _inert("tensor of a kind that is not read")()
    return Stored(storage, dtype, offset, shape, stride)


def _subclass(make: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor of a class of its own, such as a Parameter with attributes."""
    return make(*arguments) if isinstance(make, _Maker) else _inert(getattr(kind, "origin", "tensor"))()


def _mapping(*arguments: Any) -> Names:
    """An OrderedDict, made from nothing, pairs or a mapping; or a defaultdict, whose factory is dropped."""
    given = [argument for argument in arguments if isinstance(argument, dict | list | tuple)]
    return Names(*given[:1])


_MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_parameter": lambda data, *rest: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *rest: data,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
}


DEEPEST = 1000
"""Tuples within each other that are read; weights have some ten."""
_NESTS = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"})
_RECALLS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_KEEPS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})


class _Reader(pickle.Unpickler):
    """Answers every name with a stand-in. `storages` collects those that tensors refer to, by key, with their sizes."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.storages: dict[str, tuple[torch.dtype, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _MAKERS:
            return _Maker(_MAKERS[full])
        if module.partition(".")[0] == "torch" and name in DTYPES:
            return _Maker(lambda *rest: DTYPES[name])
        dtype = getattr(torch, name, None) if module == "torch" and name.isidentifier() else None
        return dtype if isinstance(dtype, torch.dtype) else _inert(full)

    def persistent_load(self, mark: Any) -> Any:
        """A storage that lies outside the pickle: ("storage", class, key, device, size), older ones with a view besides."""
        if not isinstance(mark, tuple) or len(mark) < 2 or mark[0] != "storage":
            return mark[1] if isinstance(mark, tuple) and len(mark) > 1 else _inert("object")()
        _, kind, key, _, size, *view = mark
        dtype = kind() if isinstance(kind, _Maker) else None
        if not isinstance(dtype, torch.dtype):
            return _inert("storage of a kind that is not read")()
        self.storages[str(key)] = (dtype, _size(size))
        skip = view[0][1] if view and view[0] is not None else 0
        return Storage(str(key), dtype, _size(skip))


def unpickle(content: bytes) -> tuple[Any, dict[str, tuple[torch.dtype, int]]]:
    """What a pickle describes, with stand-ins, and its storages: key → (dtype, how many numbers).

    Memory is a small multiple of the pickle's size. Raises pickle.UnpicklingError, or any of `reading.DAMAGE`, where damaged.
    """
    reader = _Reader(content[: extent(io.BytesIO(content))])
    return reader.load(), reader.storages


def extent(file: BinaryIO) -> int:
    """Where the pickle that starts at the file's position ends, after checking that reading it takes no more memory than it
    has bytes, and no tuple is nested so deep that its hash ends the process; the position is left there."""
    nesting = _Nesting()
    for count, (code, argument, _) in enumerate(pickletools.genops(file)):
        if "PUT" in code.name and isinstance(argument, int) and argument > count:
            raise pickle.UnpicklingError(f"stores under number {argument} after {count} steps")
        if code.name.startswith("EXT"):
            raise pickle.UnpicklingError("refers to a table outside the file")
        nesting.step(code, argument)
    return file.tell()


class _Nesting:
    """How many tuples each value on a pickle's stack may hold one within the other.

    A key of a dictionary is hashed, a tuple by hashing what it holds, in C and without a limit: a few hundred thousand levels,
    a byte each, overflow the stack. Dictionaries and lists have no hash; what they hold counts, since it may be taken out.
    """

    def __init__(self):
        self.stack: list[int | None] = []  # None: a mark
        self.memo: dict[int, int] = {}

    def step(self, code: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do what one step does to the stack. Raises pickle.UnpicklingError for a tuple that is nested too deep."""
        if code.name in _RECALLS:
            self.stack.append(self.memo.get(argument, 0))
        elif code.name in _KEEPS:
            self.memo[len(self.memo) if code.name == "MEMOIZE" else argument] = (self.stack or [0])[-1] or 0
        else:
            depth = self._taken(code) + (code.name in _NESTS)
            if depth > DEEPEST:
                raise pickle.UnpicklingError(f"nests more than {DEEPEST} tuples")
            self.stack += [None if made is pickletools.markobject else depth for made in code.stack_after]

    def _taken(self, code: pickletools.OpcodeInfo) -> int:
        """The deepest of the values that a step takes from the stack."""
        wanted, found = list(code.stack_before), 0
        if pickletools.markobject in wanted:
            while self.stack and (depth := self.stack.pop()) is not None:
                found = max(found, depth)
            wanted = wanted[: wanted.index(pickletools.markobject)]
        for _ in wanted:
            found = max(found, (self.stack.pop() if self.stack else 0) or 0)
        return found
