"""Names of weights in files made elsewhere: where the weights lie, which prefix they bear, which normalisation is stored."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from certflow.errors import ArtefactError
from certflow.models.reading import Mapped, container_rank, is_average, likeliest

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
"""What compiling, sharding and checkpointing put into names, wherever they are applied."""
STATISTICS = re.compile(
    r"(?P<parents>(?:\w+\.)*?)(?:(?:0|norm|normali[sz]er?|normali[sz]e_?layer|normali[sz]ation|preprocess)\.(?:module\.)?)?"
    r"(?:(?P<mean>means?|mu)|(?P<sd>sds?|stds?|sigma))"
)
"""Buffers of a normalisation layer, or of the model itself."""
COUNTER = ".num_batches_tracked"
"""Counters that files from before 2018 lack; networks do not use them for inference."""
DERIVED = frozenset(
    {
        *("num_batches_tracked", "n_averaged", "total_ops", "total_params"),
        *("relative_position_index", "relative_coords_table", "attn_mask"),
    }
)
"""Last parts of names under which counters lie, and tables that networks make themselves: where a network has no place for
them they are dropped, and named."""
TOP = "top"
"""How weights are called that lie at the top of a file, without a prefix."""


@dataclass(frozen=True)
class Candidate:
    """Weights behind one prefix of one mapping. `names`: the network's own name → the file's, for each that is there."""

    mapped: Mapped
    prefix: str
    names: Mapping[str, str]
    complete: bool
    """Whether every weight of the network is there, in its shape."""

    @property
    def label(self) -> str:
        """How a method entry names it: the place, and after a colon the prefix."""
        return f"{self.mapped.place}:{self.prefix}" if self.prefix else self.mapped.place or TOP

    def behind(self) -> int:
        """How many tensors of the mapping lie behind the prefix."""
        return sum(_plain(name).startswith(self.prefix) for name in self.mapped.tensors)

    @property
    def average(self) -> bool:
        """Whether these are running averages: by their name, or by the counter that torch's `AveragedModel` keeps."""
        return is_average(f"{self.mapped.place}/{self.prefix}") or "n_averaged" in self.mapped.tensors


@dataclass(frozen=True)
class Published:
    """A file's weights under the network's own names, and the normalisation it stores (None: it stores none)."""

    weights: dict[str, Any]
    mean: Any = None
    sd: Any = None
    dropped: tuple[str, ...] = ()
    """Names in the file that the network has no place for: counters, derived tables, other sets, what was to be left out."""


@dataclass(frozen=True)
class Taken:
    """Which weights were chosen, and the other complete sets of weights in the file."""

    candidate: Candidate
    others: tuple[Candidate, ...] = ()

    def elsewhere(self) -> frozenset[str]:
        """Names in the chosen mapping that belong to the other sets."""
        mapped = self.candidate.mapped
        return frozenset(name for other in self.others if other.mapped is mapped for name in other.names.values())


@dataclass(frozen=True)
class Wanted:
    """What a network needs: name → shape, and the names whose first size is the number of classes, which may differ."""

    shapes: Mapping[str, torch.Size]
    by_class: frozenset[str] = field(default_factory=frozenset)

    def fits(self, name: str, shape: torch.Size) -> bool:
        start = 1 if name in self.by_class else 0
        return tuple(shape[start:]) == tuple(self.shapes[name][start:]) and len(shape) == len(self.shapes[name])


def choose(mappings: Sequence[Mapped], wanted: Wanted, weights: str, path: str | Path) -> Taken:
    """The weights of a file that are a network's.

    weights: `auto` (plain ones, or running averages where there are no others), `raw`, `ema`, or the label of a candidate or
    of a mapping. Where several fit, the one at the first of `CONTAINERS` is taken if all hold the same tensors; else an
    `ArtefactError` names them. Where none fits, the one that comes closest is returned, for `fit` to say what is missing.
    """
    found = [candidate for mapped in mappings for candidate in _candidates(mapped, wanted)]
    chosen = _named(found, weights, path)
    complete = [candidate for candidate in chosen if candidate.complete]
    if not complete:
        nothing = Candidate(likeliest(mappings), "", {}, False)
        return Taken(max(chosen, key=lambda candidate: (candidate.behind(), len(candidate.names)), default=nothing))
    first = min(complete, key=lambda candidate: container_rank(candidate.mapped.place))
    different = [candidate.label for candidate in complete if not _same_tensors(first, candidate)]
    if different:
        raise ArtefactError(
            f"{path}: holds several sets of weights that fit: {', '.join([first.label, *different])}; "
            f"say which one is meant by `weights`"
        )
    return Taken(first, tuple(each for each in found if each.complete and each is not first))


def unread(taken: Taken, wanted: Wanted) -> list[tuple[str, str]]:
    """Weights of the network that the file has, though not as dense numbers: the file's name for each, and what lies there."""
    mapped, prefix = taken.candidate.mapped, taken.candidate.prefix
    return [(name, what) for name, what in mapped.others.items() if _plain(name).removeprefix(prefix) in wanted.shapes]


def rename(taken: Taken, wanted: Mapping[str, Any], leave_out: Sequence[str] = ()) -> Published:
    """The chosen tensors under the network's own names; a stored mean and standard deviation set apart.

    leave_out: patterns (as of file names) of names in the file that do not belong to the classifier. Names that are neither,
    nor `DERIVED`, nor of another set of weights are kept as they are, so that they are reported as not belonging there.
    A stored mean without a standard deviation means centring only.
    """
    candidate, elsewhere = taken.candidate, taken.elsewhere()
    theirs = {name: own for own, name in candidate.names.items()}
    weights: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    dropped = []
    for name, tensor in candidate.mapped.tensors.items():
        found = STATISTICS.fullmatch(name)
        if name in theirs:
            weights[theirs[name]] = tensor
        elif any(fnmatchcase(name, pattern) for pattern in leave_out):
            dropped.append(name)
        elif (
            found is not None
            and candidate.prefix.startswith(found["parents"])
            and str(found.lastgroup) not in statistics
        ):
            statistics[str(found.lastgroup)] = tensor
        elif name in elsewhere or name.rpartition(".")[2] in DERIVED:
            dropped.append(name)
        else:
            weights[_plain(name).removeprefix(candidate.prefix)] = tensor
    for name in wanted:
        if name.endswith(COUNTER):
            weights.setdefault(name, torch.zeros((), dtype=torch.int64))
    return Published(weights, statistics.get("mean"), statistics.get("sd"), tuple(dropped))


def _candidates(mapped: Mapped, wanted: Wanted) -> Iterator[Candidate]:
    """Every prefix of a mapping behind which some of the wanted names lie, in the order in which they occur."""
    behind: dict[str, dict[str, str]] = {}
    for name in mapped.tensors:
        plain = _plain(name)
        for cut in (0, *(match.end() for match in re.finditer(r"\.", plain))):
            if plain[cut:] in wanted.shapes:
                behind.setdefault(plain[:cut], {})[plain[cut:]] = name
    needed = {name for name in wanted.shapes if not name.endswith(COUNTER)}
    for prefix, names in behind.items():
        fits = needed <= set(names) and all(wanted.fits(own, mapped.tensors[name].shape) for own, name in names.items())
        yield Candidate(mapped, prefix, names, fits)


def _named(found: Sequence[Candidate], weights: str, path: str | Path) -> list[Candidate]:
    """The candidates that `weights` stands for."""
    if weights == "auto":
        plain = [candidate for candidate in found if candidate.complete and not candidate.average]
        return plain or [candidate for candidate in found if candidate.complete] or list(found)
    if weights in ("raw", "ema"):
        chosen = [candidate for candidate in found if candidate.average == (weights == "ema")]
        kind = "running averages of the weights" if weights == "ema" else "weights besides running averages"
        missing = f"holds no {kind} that fit"
    else:
        chosen = [each for each in found if weights in (each.label, each.mapped.place)]
        missing = f"holds no weights that fit at {weights!r}"
    if not any(candidate.complete for candidate in chosen):
        known = ", ".join(candidate.label for candidate in found if candidate.complete) or "none"
        raise ArtefactError(f"{path}: {missing}; those that do fit: {known}")
    return chosen


def _same_tensors(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are the same records: a file may name the same tensors twice."""
    return all(
        one.mapped.tensors[name] is other.mapped.tensors.get(other.names.get(own, ""))
        for own, name in one.names.items()
    )


def _plain(name: str) -> str:
    """A name without what wrappers put into it."""
    parts = name.split(".")
    return name if WRAPPERS.isdisjoint(parts) else ".".join(part for part in parts if part not in WRAPPERS)
