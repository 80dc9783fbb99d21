"""Where torch and Triton keep what they compile."""

import os
import platform
from hashlib import sha256
from pathlib import Path

from certflow.errors import ArtefactError
from certflow.files.private import cache_folders, first_private, is_private, make_private, scratch
from certflow.machine.cpu import cpu_flags

FOLDERS = {
    "PYTORCH_KERNEL_CACHE_PATH": "kernels",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}
"""Where compilers keep code that they load again → our name for it."""


def keep_compilers_private() -> None:
    """Let torch and Triton keep what they compile in folders of this user alone, and of CPUs like this one.

    The user may name such folders. By default torch looks for compiled code under a name in the system's temporary folder that
    anybody may have taken. It also takes up what another kind of CPU compiled: code for AVX-512 in a process that uses AVX2
    gave wrong integers (torch 2.15), and nodes of a cluster may share a home. ArtefactError where there is no such folder.
    """
    try:
        folder, own = first_private(cache_folders()) or scratch(), this_cpu()
        for variable, name in FOLDERS.items():
            named = Path(os.environ.get(variable, ""))
            given = (
                named.parent if named.name == own else named
            )  # by an earlier call, or by the process that started this one
            place = given if given.is_absolute() and is_private(given) else folder / name
            os.environ[variable] = str(make_private(place / own))
    except OSError as error:
        raise ArtefactError(
            f"{error.filename}: no place for compiled code that this user alone can write to ({error.strerror}); set "
            f"XDG_CACHE_HOME to one"
        ) from error


def this_cpu() -> str:
    """A name for what compiled code may be for: the CPU's features, and which of them torch is told to use."""
    told = os.environ.get("ATEN_CPU_CAPABILITY", "")
    return sha256(" ".join([platform.machine(), told, *sorted(cpu_flags())]).encode()).hexdigest()[:16]
