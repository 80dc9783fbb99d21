"""Tables of laws on a device: made once, and constants to compiled code."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def on_device(table: Callable[[Any], np.ndarray]) -> Callable[[Any, torch.device], Tensor]:
    """(law, device) → `table(law)` as a tensor on the device. Laws can be hashed. Compiled code takes it for a constant."""

    def found(law: Any, device: torch.device) -> Tensor:
        return kept(table, law, device)

    # What torch.compiler.assume_constant_result sets; calling that would import the whole compiler, seconds on every job.
    setattr(found, "_dynamo_marked_constant", True)  # noqa: B010
    return found


@lru_cache(maxsize=128)
def kept(table: Callable[[Any], np.ndarray], law: Any, device: torch.device) -> Tensor:
    """Those of the last laws."""
    return torch.as_tensor(table(law), device=device)
