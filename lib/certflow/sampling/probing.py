"""Images to try a network on, and what is found out with them: whether it is one fixed function of a row."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from certflow.errors import CertflowError, short_of_memory
from certflow.models.agreement import agree

ROWS = 8
"""At least so many images,"""
VALUES = 1 << 15
"""and as many as have so many pixels: a model that is random in few places is seen to be so."""
SIGMAS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Noise on the probe images, in turns."""
COMPANY = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest difference (see `certflow.models.agreement`) of a row's logits with its company, on devices where other company may
mean other rounding. On a CPU there must be none: in convolutional networks and transformers of 13 kinds that were tried, a
row at a fixed place of a batch of a fixed shape has the same bits whatever lies beside it."""


Network = Callable[[torch.Tensor], torch.Tensor]


def rows_for(shape: tuple[int, ...], batch: int) -> int:
    """How many probe images there are of a shape: at most `batch`, at least 8, in multiples of 8."""
    wanted = max(ROWS, min(batch, VALUES // int(np.prod(shape))))
    return wanted // ROWS * ROWS


def probe_images(rows: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """float32 [rows, *shape]: smooth images in [0,1] with noise of several levels, nothing clipped; the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(rows, shape[0], *(min(4, side) for side in shape[1:]), generator=generator)
    noise = torch.randn(rows, *shape, generator=generator)
    sigma = torch.tensor(SIGMAS).repeat(-(-rows // len(SIGMAS)))[:rows]
    return F.interpolate(coarse, size=shape[1:], mode="bilinear") + sigma[:, None, None, None] * noise


def company_images(rows: int, shape: tuple[int, ...]) -> torch.Tensor:
    """float32 [rows, *shape]: other images than `probe_images`, of twice their range.

    Whatever a model makes of a whole batch, its largest value too, then changes with half of the batch.
    """
    return 1.5 - 2 * probe_images(rows, shape, seed=1)


def run(network: Callable[[torch.Tensor], Any], x: torch.Tensor, what: str) -> Any:
    """`network(x)`, given a copy that it may overwrite. ValueError saying `what` did not work, with the cause's first line."""
    try:
        with torch.inference_mode():
            return network(x.clone())
    except CertflowError:
        raise
    # A foreign model may raise anything.
    except Exception as error:
        if short_of_memory(error):
            raise
        raise ValueError(f"{what} ({first_line(error)})") from error


def first_line(error: BaseException | None) -> str:
    """The cause in a line. TorchScript tells a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1 if lines[0].startswith('The following operation failed') else 0][:200]}"


def check_repeats(network: Network, x: torch.Tensor, part: nn.Module) -> torch.Tensor:
    """`network(x)`, logits; ValueError, naming the place, where the network is random: the same batch must give the same bits.

    Likewise where a call changes what the network holds, for then it is another function after every call. part: its modules.
    Asked of a model as it was given, for tracing it may take a random number for a constant.
    """
    before, held = _states(x.device), _held(part)
    first = network(x)
    moved = _states(x.device) != before
    _refuse_learning(network, x, part, held)
    repeated = _same(first, network(x))
    if moved or not repeated:
        _refuse_random(network, x, part, certain=not repeated)
    return first


def check_rows(network: Network, x: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`network(x)`, logits; ValueError where the network, which computes in `dtype`, is not one fixed function of each row.

    other: as many images, for company. The first half of x amid other company must give the same bits on a CPU, and the same up
    to rounding on other devices; so must images in other places of the batch, on all devices.
    """
    half = len(x) // 2
    first = network(x)
    amid = network(torch.cat([x[:half], other[half:]]))[:half]
    turned = network(x.roll(1, 0)).roll(-1, 0)
    same = _same if x.device.type == "cpu" else partial(near, dtype=dtype)
    if not same(first[:half], amid) or not near(first, turned, dtype):
        raise ValueError(
            "the model's logits of an image change with the other images of its batch, so draws are not independent; use a "
            "model that treats every row by itself (statistics of the batch, dynamic quantisation and attention over the batch "
            "do not)"
        )
    return first


def _held(part: nn.Module) -> dict[str, tuple[torch.Tensor, int]]:
    """The tensors that modules hold, by name, and how often each was written to; without those of whole numbers, which only
    count calls."""
    named = [*part.named_parameters(), *part.named_buffers()]
    return {
        name: (tensor, -1 if tensor.is_inference() else tensor._version)
        for name, tensor in named
        if tensor.is_floating_point() or tensor.is_complex()
    }


def _refuse_learning(
    network: Network, x: torch.Tensor, part: nn.Module, before: Mapping[str, tuple[torch.Tensor, int]]
) -> None:
    """ValueError where calls change the numbers that modules hold. before: `_held` before the last call.

    Only tensors that were written to are copied, as a model may be large, and compared, as it may write what was there before.
    """
    written = {
        name: tensor.clone()
        for name, (tensor, version) in _held(part).items()
        if name not in before or before[name][0] is not tensor or before[name][1] != version
    }
    if not written:
        return
    network(x)
    now = _held(part)
    changed = [name for name, tensor in written.items() if name not in now or not torch.equal(tensor, now[name][0])]
    if changed:
        raise ValueError(
            f"the model changes with every call ({', '.join(changed[:3])}), so it is not one fixed function; let it use what "
            "it has learned without learning on, as `.eval()` does for layers of torch"
        )


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def near(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits of the same rows, computed twice in `dtype`, differ by rounding at most."""
    return agree(a, b, COMPANY[dtype], eps=torch.finfo(dtype).eps, roundings=4)


def _refuse_random(network: Network, x: torch.Tensor, part: nn.Module, *, certain: bool) -> None:
    """The error of a model that is random. Not `certain`: only where it draws numbers from a generator that it does not seed
    itself; of torch's, only where its operations are seen to, for another thread may have moved the state."""
    found = [f"it draws from {name}" for name in _drawn_from(network, x)]
    if "it draws from torch's generator" in found:
        found = [*_Random.of(network, x, part), *(text for text in found if "torch" not in text)]
    where = f" ({', '.join(found[:3])})" if found else ""
    if certain or found:
        raise ValueError(
            f"the model is random{where}: called twice on the same images it need not give the same logits; smoothing "
            "certifies one fixed function, so turn off dropout and other random layers at inference, or "
            "draw their randomness once, when the model is made"
        )


def _states(device: torch.device) -> dict[str, Any]:
    """The states of the generators that code uses unless it brings its own."""
    state = np.random.get_state(legacy=False)["state"]
    torchs = [torch.get_rng_state().numpy().tobytes()]
    if device.type == "cuda":
        torchs.append(torch.cuda.get_rng_state(device).numpy().tobytes())
    return {
        "torch's generator": torchs,
        "numpy's generator": (state["key"].tobytes(), state["pos"]),
        "Python's random module": random.getstate(),
    }


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """Put the states of these generators back at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _drawn_from(network: Network, x: torch.Tensor) -> list[str]:
    """Generators that a call moves and does not seed itself: they then end in another state for another start."""
    starts, ends = [], []
    for seed in (1, 2):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        if x.device.type == "cuda":
            with torch.cuda.device(x.device):
                torch.cuda.manual_seed(seed)
        starts.append(_states(x.device))
        network(x)
        ends.append(_states(x.device))
    return [name for name, state in starts[0].items() if ends[0][name] != state and ends[0][name] != ends[1][name]]


class _Random(TorchDispatchMode):
    """Notes the operations that draw random numbers, and the modules that they are called in."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.found: dict[str, None] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded in operation.tags:
            place = f" in {self.inside[-1]}" if self.inside else ""
            self.found[f"{operation.overloadpacket.__name__}{place}"] = None
        return operation(*args, **(kwargs or {}))

    @classmethod
    def of(cls, network: Network, x: torch.Tensor, part: nn.Module) -> list[str]:
        """What is found in one call, by operation and name of the module."""
        seen = cls()
        hooks = []
        for name, module in part.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                enter = partial(lambda name, *_: seen.inside.append(name), name or type(module).__name__)
                hooks.append(module.register_forward_pre_hook(enter))
                hooks.append(module.register_forward_hook(lambda *_: seen.inside.pop() and None, always_call=True))
        try:
            with torch.inference_mode(False), torch.no_grad(), seen:
                network(x.clone())
        finally:
            for hook in hooks:
                hook.remove()
        return list(seen.found)
