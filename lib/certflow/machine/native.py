"""C code of ours, compiled once per machine and user by the C compiler that is there, if one is.

Loading a library runs code of it, before anything can be compared. Hence it is loaded only from a folder that no other user can
write to (`certflow.files.private`), and only if its bytes are those that its name tells. `CERTFLOW_NATIVE=0` turns it off.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from certflow.errors import ConfigError
from certflow.files.intact import file_digest
from certflow.files.parts import part_path, remove_abandoned_parts
from certflow.files.private import cache_folders, first_private, scratch

FEATURES = {"AVX2": ("-mavx2", "-mfma"), "AVX512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq")}
"""What torch has found the CPU to have → the compiler's flags for it."""
COMPILERS = ("cc", "gcc", "clang", "g++", "clang++")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared")
SECONDS = 600
"""A compiler that takes longer is given up. It takes some seconds, and a hundred times as many on a machine with much to do."""


@dataclass(frozen=True)
class Source:
    """A file of C, the flags that it is compiled with besides `FLAGS`, and the files of ours that it includes."""

    path: Path
    flags: tuple[str, ...]
    included: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """What the beginning of a library's name says: all that it was made from, but for the compiler."""
        text = b"".join(path.read_bytes() for path in (self.path, *self.included))
        made_of = (text, FLAGS + self.flags, platform.machine(), platform.libc_ver())
        return f"{self.path.stem}-{sha256(repr(made_of).encode()).hexdigest()[:16]}"


def features() -> tuple[str, ...]:
    """The compiler's flags for the vector units that this CPU has."""
    return FEATURES.get(torch.backends.cpu.get_cpu_capability(), ())


def load(
    source: Source, declare: Callable[[ctypes.CDLL], None], agrees: Callable[[ctypes.CDLL], bool] = lambda library: True
) -> ctypes.CDLL | None:
    """The functions of a source, or None: from the user's cache, else compiled for this process where that cannot be used.

    declare: says which arguments the functions take. agrees: whether they give what they must.
    """
    if os.environ.get("CERTFLOW_NATIVE") == "0":
        return None
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    for place in (_cached, _temporary):
        try:
            library = _opened(place(source, compiler))
            declare(library)
        except (OSError, AttributeError):  # no such folder, another library, or one that may not be run from there
            continue
        if agrees(library):
            return library
    return None


def require(functions: ctypes.CDLL | None, setting: str) -> None:
    """`ConfigError` where there is no compiler: what is computed must not depend on whether one is there."""
    if functions is None:
        raise ConfigError(
            [
                f"{setting}: needs a C compiler (cc, gcc or clang) on the PATH that compiles our code within {SECONDS} s, and "
                "CERTFLOW_NATIVE must not be 0; install one or set it to false"
            ]
        )


def needed(functions: ctypes.CDLL | None) -> ctypes.CDLL:
    """The functions, which were there before: `require` was called."""
    if functions is None:
        raise ConfigError(["native: a compiled kernel is gone; run again"])
    return functions


def compiler_of(functions: ctypes.CDLL | None) -> str:
    """The name and version of the compiler that made functions which say so, maybe long ago: their last bits are its own."""
    told = needed(functions).certflow_compiler
    told.restype = ctypes.c_char_p
    return told().decode()


def _opened(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


def _cached(source: Source, compiler: str | None) -> Path:
    """The library in the user's cache, compiled now if need be. Its name holds the SHA-256 of its bytes."""
    folder = first_private(cache_folders())
    if folder is None:
        raise FileNotFoundError("no cache that is this user's alone")
    for path in sorted(folder.glob(f"{source.key}-*.so")):
        if path.name == _name(source, path):
            return path
    return _compile(source, compiler, folder)


def _temporary(source: Source, compiler: str | None) -> Path:
    """The library, compiled into a folder that is gone when this process ends."""
    return _compile(source, compiler, scratch())


def _name(source: Source, path: Path) -> str:
    """What a library is called."""
    return f"{source.key}-{file_digest(path)}.so"


def _compile(source: Source, compiler: str | None, folder: Path) -> Path:
    """Compile into `folder`: whole or not at all, also when two processes do it at once. OSError where it cannot be done."""
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    remove_abandoned_parts(folder / source.key)
    part = part_path(folder / source.key)
    command = [compiler, "-x", "c", *FLAGS, *source.flags, "-o", str(part), str(source.path)]
    try:
        subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
        part.chmod(0o500)
        return part.replace(folder / _name(source, part))
    except subprocess.SubprocessError as error:
        raise OSError(f"{compiler} failed") from error
    finally:
        part.unlink(missing_ok=True)
