"""Finds the kinds of each family by listing a folder, and imports one only when it is asked for.

Adding a kind means adding one file `lib/certflow/<package>/kinds/<kind>.py` that holds one class decorated with `register`;
nothing else is edited. These files must not import torch when they are imported (use `lazy`): the workflow reads them on
every start.
"""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from certflow.errors import ConfigError, listed
from certflow.kinds.spec import Spec, canonical_json

if TYPE_CHECKING:
    from certflow.attacks.base import AttackSpec
    from certflow.certify.base import CertificateSpec
    from certflow.data.base import DatasetSpec
    from certflow.data.corruptions.base import CorruptionSpec
    from certflow.denoising.base import DenoiserSpec
    from certflow.models.base import ModelSpec
    from certflow.noise.base import NoiseSpec
    from certflow.sampling.base import SamplerSpec
    from certflow.training.base import MethodSpec

PACKAGES = {
    "dataset": "certflow.data.kinds",
    "corruption": "certflow.data.corruptions.kinds",
    "noise": "certflow.noise.kinds",
    "model": "certflow.models.kinds",
    "denoiser": "certflow.denoising.kinds",
    "method": "certflow.training.kinds",
    "sampler": "certflow.sampling.kinds",
    "certificate": "certflow.certify.kinds",
    "attack": "certflow.attacks.kinds",
}
"""Family of specs → package whose modules define its kinds."""

_classes: dict[tuple[str, str], type[Spec]] = {}
S = TypeVar("S", bound=Spec)


class Unloaded(ModuleType):
    """A module in `sys.modules` whose code runs at the first access to an attribute that only the code defines.

    The standard library's lazy module runs at any access, even to `__file__`. Importing torch reads `__file__` of every module
    in `sys.modules`; lazy modules that import each other would then run while one of them is only half loaded. Threads that
    want something of a module whose code is running wait for its end.
    """

    def __getattr__(self, name: str) -> Any:
        with self.__dict__["__lock__"]:
            if isinstance(self, Unloaded):
                _run(self, name)
        return getattr(self, name)


def _run(module: ModuleType, name: str) -> None:
    """Run the module's code, which defines `name`; AttributeError where that code itself asks for it, or there is none."""
    spec = module.__spec__
    if spec is None or spec.loader is None or "__running__" in module.__dict__:
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
    module.__dict__["__running__"] = True
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
        # Its code imports its submodules. Whoever does so in another thread, and holds what that takes, must not wait for it.
        module.__class__ = ModuleType
    try:
        spec.loader.exec_module(module)
    except BaseException:
        module.__class__ = Unloaded
        raise
    else:
        module.__class__ = ModuleType  # as `importlib.util.LazyLoader` does
    finally:
        del module.__dict__["__running__"]


def lazy(name: str) -> ModuleType:
    """A module that is really imported at the first access to something of its own."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}")
    module = importlib.util.module_from_spec(spec)
    module.__dict__.pop("__path__", None)  # asked for when a submodule is imported, which needs the code to have run
    module.__dict__["__lock__"] = RLock()
    module.__class__ = Unloaded
    return sys.modules.setdefault(name, module)  # another thread may have put one there


def register(kind: str):
    """Class decorator: make a spec class known as `kind` of its family. The file must bear the kind's name."""

    def decorate(cls: type[S]) -> type[S]:
        key = (cls.family, kind)
        stem = cls.__module__.rpartition(".")[2]
        if cls.__module__ == f"{PACKAGES[cls.family]}.{stem}" and stem != kind:
            raise TypeError(f"{cls.__module__}: registers {kind!r}; the file must be named {kind}.py")
        known = _classes.get(key)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.family} kind {kind!r} is registered by {known.__module__} and {cls.__module__}")
        if cls.model_fields["kind"].default != kind:
            raise TypeError(f'{cls.__module__}: {cls.__name__} must declare `kind: Literal["{kind}"] = "{kind}"`')
        _classes[key] = cls
        return cls

    return decorate


@cache
def kinds(family: str) -> tuple[str, ...]:
    """Names of all kinds of a family, sorted, without importing any of them."""
    package = importlib.import_module(PACKAGES[family])
    folder = Path(package.__path__[0])
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")))


@overload
def spec_class(family: Literal["dataset"], kind: str) -> "type[DatasetSpec]": ...
@overload
def spec_class(family: Literal["corruption"], kind: str) -> "type[CorruptionSpec]": ...
@overload
def spec_class(family: Literal["noise"], kind: str) -> "type[NoiseSpec]": ...
@overload
def spec_class(family: Literal["model"], kind: str) -> "type[ModelSpec]": ...
@overload
def spec_class(family: Literal["denoiser"], kind: str) -> "type[DenoiserSpec]": ...
@overload
def spec_class(family: Literal["method"], kind: str) -> "type[MethodSpec]": ...
@overload
def spec_class(family: Literal["sampler"], kind: str) -> "type[SamplerSpec]": ...
@overload
def spec_class(family: Literal["certificate"], kind: str) -> "type[CertificateSpec]": ...
@overload
def spec_class(family: Literal["attack"], kind: str) -> "type[AttackSpec]": ...
@overload
def spec_class(family: str, kind: str) -> type[Spec]: ...
def spec_class(family: str, kind: str) -> type[Spec]:
    """The class of a kind; a `ConfigError` that lists the known kinds where there is none."""
    if (family, kind) not in _classes:
        if kind not in kinds(family):
            raise ConfigError([f"kind: no {family} of kind {kind!r}; known: {listed(kinds(family), kind)}"])
        importlib.import_module(f"{PACKAGES[family]}.{kind}")
        if (family, kind) not in _classes:
            raise TypeError(f"{PACKAGES[family]}.{kind} registers no {family} of that kind")
    return _classes[family, kind]


def revive(family: str, canonical: dict[str, Any], **extra: Any) -> Any:
    """The spec whose `canonical()` is given, with `extra` values for fields that are not hashed.

    Refuses a canonical form written by another revision of the code.
    """
    fields = {key: value for key, value in canonical.items() if key != "revision"}
    cls = spec_class(family, fields["kind"])
    if canonical.get("revision") != cls.revision:
        raise ConfigError(
            [
                f"{family} {fields['kind']}: written by revision {canonical.get('revision')} of this kind, the code is at "
                f"revision {cls.revision}; make it again"
            ]
        )
    return cls.model_validate_json(canonical_json({**fields, **extra}))
