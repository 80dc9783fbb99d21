"""What a device is called in records: bits are promised per device, so its name is part of where a result came from."""

import platform
from typing import Any


def device_name(device: Any) -> str:
    """Such as `NVIDIA H200` or `cpu (x86_64, AVX512)`. device: a torch device, or its name."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
