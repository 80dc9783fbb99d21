"""A network from an ONNX file, run by onnxruntime (an optional package) and called like any function of images."""

from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import torch

from certflow.errors import DataError
from certflow.files.intact import brief
from certflow.report.numbers import counted
from certflow.sampling.arguments import channels_last
from certflow.sampling.outputs import NAME

EXPORTING = "torch.onnx.export(model, (x,), path, dynamic_shapes=({0: torch.export.Dim('batch')},))"
PIXELS = "tensor(float)"


class OnnxModel:
    """images float32 [rows, channels, height, width] in [0,1] → logits float32 [rows, classes], or a mapping of all outputs
    where there are several and none is called logits.

    The file holds the whole function, its normalisation too. It is opened anew in another process, and runs on the CPU, or with
    `device` "cuda" on the GPU where onnxruntime was built for it. `DataError` for files that cannot be run so; ImportError,
    saying how to mend it, where onnxruntime is missing. Weights beside the file are found below its own folder only.

    The file is a program with loops, which need not end. seconds: a call that takes longer ends in a `DataError`.
    """

    def __init__(self, path: str | Path, device: str = "cpu", seconds: float | None = None):
        self.path, self.device, self.seconds = Path(path), device, seconds
        self.session = _opened(self.path, device)
        self.input, self.outputs = _ends(self.session, self.path)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width; None where the file leaves one open."""
        sides = self.input.shape[1:]
        return tuple(sides) if all(isinstance(side, int) for side in sides) else None

    @property
    def classes(self) -> int | None:
        """Number of logits; None where the file does not say."""
        shape = self.outputs[0].shape if len(self.outputs) == 1 else ()
        return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        given = {self.input.name: np.ascontiguousarray(x.detach().cpu().numpy(), np.float32)}
        names = [one.name for one in self.outputs]
        found = dict(zip(names, self._run(names, given), strict=True))
        tensors = {
            name: torch.from_numpy(values).to(x.device)
            for name, values in found.items()
            if isinstance(values, np.ndarray) and values.dtype.kind in "fiub"
        }
        return next(iter(tensors.values())) if len(names) == len(tensors) == 1 else tensors

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxModel, (self.path, self.device, self.seconds)

    def _run(self, names: list[str], given: dict[str, np.ndarray]) -> list[Any]:
        """The outputs of these names."""
        if self.seconds is None:
            return self.session.run(names, given)
        options, late = runtime().RunOptions(), Event()

        def end() -> None:
            late.set()
            options.terminate = True

        timer = Timer(self.seconds, end)
        timer.daemon = True
        timer.start()
        try:
            return self.session.run(names, given, options)
        except Exception as error:  # onnxruntime's errors share no other base
            if not late.is_set():
                raise
            images = counted(len(given[self.input.name]), "image")
            raise DataError(
                f"{self.path}: did not finish {images} within {self.seconds:g} s; take a smaller network, or one "
                "without loops"
            ) from error
        finally:
            timer.cancel()


def runtime() -> Any:
    """The package onnxruntime; ImportError with the remedy where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("models in ONNX files need the package onnxruntime: pip install onnxruntime") from error
    return onnxruntime


def _opened(path: Path, device: str) -> Any:
    onnxruntime = runtime()
    if not path.is_file():
        raise DataError(f"{path}: is not there; name an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = set(onnxruntime.get_available_providers())
    providers = [*(name for name in wanted if name in there), "CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no other base
        raise DataError(f"{path}: onnxruntime cannot read it ({brief(error)}); export the model again") from error


def _ends(session: Any, path: Path) -> tuple[Any, list[Any]]:
    """The one input, and the output that is called logits, or all."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != PIXELS:
        shown = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)
        raise DataError(f"{path}: must take one float32 input [batch, channels, height, width], takes {shown}")
    if isinstance(inputs[0].shape[0], int):
        images = counted(inputs[0].shape[0], "image")
        raise DataError(
            f"{path}: takes batches of {images} only; export it with a batch axis that is free: {EXPORTING}"
        )
    sides = inputs[0].shape[1:]
    if all(isinstance(side, int) for side in sides) and channels_last(sides):
        raise DataError(
            f"{path}: takes images {sides} with their channels last; export it for images [batch, channels, height, width]"
        )
    return inputs[0], [one for one in outputs if one.name == NAME] or outputs
