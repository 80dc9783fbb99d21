"""Names of weights in published files: which prefix they bear, and where a file keeps its normalisation."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

PREFIX = re.compile(r"(?:(?:module|model|network|net|backbone|1)\.)*")
"""What containers put before a network's own names: data-parallel wrappers, Sequential(normalise, network), lightning."""
STATISTICS = re.compile(
    r"(?:(?:module|model)\.)*(?:0|norm|normali[sz]er?|normali[sz]e_?layer|normali[sz]ation)\.(?:module\.)?"
    r"(?:(?P<mean>means?|mu)|(?P<sd>sds?|stds?|sigma))"
)
"""Buffers of a normalisation layer."""
COUNTER = ".num_batches_tracked"
"""Counters that files from before 2018 lack; networks do not use them for inference."""


@dataclass(frozen=True)
class Published:
    """A file's weights under the network's own names, and the normalisation it stores (None: it stores none)."""

    weights: dict[str, torch.Tensor]
    mean: tuple[float, ...] | None = None
    sd: tuple[float, ...] | None = None


def rename(state: Mapping[str, torch.Tensor], wanted: Collection[str]) -> Published:
    """Strip the prefix under which most of the `wanted` names occur; set stored means and standard deviations apart.

    Names that are neither are kept as they are, so that they are reported as not belonging to the network. A stored mean
    without a standard deviation means centring only.
    """
    prefix = _prefix(state, wanted)
    weights: dict[str, torch.Tensor] = {}
    statistics: dict[str, tuple[float, ...]] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else None
        found = STATISTICS.fullmatch(key)
        if name in wanted:
            weights[name] = tensor
        elif found is not None:
            statistics[found.lastgroup] = tuple(tensor.double().flatten().tolist())
        else:
            weights[name or key] = tensor
    for key in wanted:
        if key.endswith(COUNTER):
            weights.setdefault(key, torch.zeros((), dtype=torch.int64))
    return Published(weights, statistics.get("mean"), statistics.get("sd"))


def _prefix(state: Mapping[str, torch.Tensor], wanted: Collection[str]) -> str:
    """The allowed prefix with which most wanted names occur; the shortest of equally good ones, "" if there is none."""
    suffixes = {key.rpartition(".")[2] for key in wanted}
    candidates = {""}
    for key in state:
        if key.rpartition(".")[2] in suffixes:
            longest = PREFIX.match(key)[0]
            parts = longest.split(".")[:-1]
            candidates.update(".".join([*parts[:size], ""]) if size else "" for size in range(len(parts) + 1))
    hits = {prefix: sum(prefix + key in state for key in wanted) for prefix in candidates}
    return min(candidates, key=lambda prefix: (-hits[prefix], len(prefix), prefix))
