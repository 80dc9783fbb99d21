"""What a device is called in records: bits are promised per device, so its name is part of where a result came from."""

import platform
from typing import Any

DEVICES = "auto, cpu, cuda, or such as cuda:1"


def checked_device(device: Any = None) -> Any:
    """The torch device of that name, if it is one that models run on and it is there; ValueError otherwise.

    None or "auto": the first GPU where there is one, else the CPU.
    """
    import torch

    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: {device!r} is not a device; write {DEVICES}") from error
    if found.type == "meta":
        raise ValueError(f"device: tensors on {device!r} have no values; write {DEVICES}")
    there = torch.cuda.device_count() if found.type == "cuda" else 0
    if found.type == "cuda" and (found.index or 0) >= there:
        raise ValueError(f"device: {found} is not there; this machine has {there or 'no'} CUDA devices; write cpu")
    if found.type not in ("cpu", "cuda"):
        _require_there(torch, found)
    return found


def _require_there(torch: Any, device: Any) -> None:
    """ValueError for a device of a kind that torch knows and this machine, or this build of torch, has not."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, NotImplementedError, AssertionError, ImportError) as error:
        raise ValueError(
            f"device: {device} is not there, or this build of torch does not know it; write {DEVICES}"
        ) from error


def device_name(device: Any) -> str:
    """Such as `NVIDIA H200` or `cpu (x86_64, AVX512)`. device: a torch device, or its name."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
