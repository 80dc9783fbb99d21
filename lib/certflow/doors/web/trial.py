"""Models that are brought are tried out before they are listed. An ONNX file is a program, which may never end: it is tried out
in a process of its own, for a limited time."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.errors import CertflowError, DataError
from certflow.files.intact import brief

if TYPE_CHECKING:
    from certflow.doors.bring import Brought

SECONDS = 120.0
"""Time that the process may take, its start of some seconds included."""
BATCH_SECONDS = 600.0
"""Time that a listed ONNX model may take for a batch: for some images it may never end though it did for those of the trial."""


def tried(
    brought: "Brought", shape: tuple[int, ...] | None, classes: int | None, **preparing: Any
) -> tuple[tuple[int, ...], int]:
    """The shape of a model's images and the number of its classes, after a run on a few images.

    shape, classes: as people say, if they do. preparing: as in `ready`. `DataError` where they are not the model's, or nobody
    says how large images are; other errors as in `ready`.
    """
    from certflow.certify.memory import ready

    own = brought.shape or shape
    if own is None:
        raise DataError("shape: the file does not say how large its images are; give channels, height and width")
    if shape is not None and tuple(shape) != tuple(own):
        raise DataError(f"shape: the file takes images of {list(own)}, but {list(shape)} was given")
    base = ready(
        brought.model, tuple(own), classes=brought.classes or classes, inference=brought.inference, **preparing
    )
    if classes is not None and classes != base.classes:
        raise DataError(f"classes: the file has {base.classes} classes, but {classes} were given")
    return tuple(own), base.classes


def tried_apart(path: Path, shape: tuple[int, ...] | None, classes: int | None) -> tuple[tuple[int, ...], int]:
    """`tried` of an ONNX file, on the CPU, by a process that is ended after `SECONDS`; a `DataError` says so."""
    asked = json.dumps({"path": str(path), "shape": shape, "classes": classes, "seconds": SECONDS})
    command = [sys.executable, "-m", __name__, asked]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{path}: did not finish a few images within {SECONDS:g} s; upload a smaller network, or one without loops"
        ) from None
    if done.returncode:
        raise DataError(f"{path}: the process that tried it out has ended ({done.returncode}); export the model again")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise DataError(found["error"])
    return tuple(found["shape"]), found["classes"]


def main(asked: str) -> dict[str, Any]:
    """What `tried_apart` asks for: shape and classes, or what is wrong."""
    from certflow.doors.bring import from_onnx

    given = json.loads(asked)
    limit = int(given["seconds"]) * (os.cpu_count() or 1) + 1  # whoever waits for it may be killed, and not end it
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    stated = None if given["shape"] is None else tuple(given["shape"])
    try:
        shape, classes = tried(from_onnx(given["path"]), stated, given["classes"], device="cpu")
    except (CertflowError, ValueError, ImportError) as error:
        return {"error": str(error)}
    except Exception as error:  # onnxruntime's errors share no other base
        return {"error": f"{given['path']}: cannot be run ({brief(error)}); export the model again"}
    return {"shape": shape, "classes": classes}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
