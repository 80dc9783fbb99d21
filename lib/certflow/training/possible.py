"""Checks before a training begins."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from certflow.data.base import Split
from certflow.data.items import name_of
from certflow.errors import UnsuitableError
from certflow.noise.base import NoiseSpec
from certflow.training.base import MethodSpec
from certflow.training.ranks import Ranks


def require_possible(
    method: MethodSpec, noise: NoiseSpec, train_split: Split, test_split: Split, tables: Mapping[str, Any]
) -> None:
    """`UnsuitableError` for what a method cannot train with; the message says which of the arguments it is."""
    if not method.trains:
        raise UnsuitableError(f"method {method.kind} brings a finished model; it cannot be trained")
    for name, split in (("training", train_split), ("test", test_split)):
        if len(split) == 0:
            raise UnsuitableError(f"the {name} split has no images")
    items = name_of(train_split.read(np.array([0])))
    size = method.size_problems(len(train_split))
    for problem in (*method.item_problems(items), *noise.item_problems(items), *method.refusals(noise), *size):
        raise UnsuitableError(f"method {method.kind}: {problem}")
    if method.splits and len(train_split) < method.noises:
        raise UnsuitableError(
            f"the training split has {len(train_split)} images, too few to split into {method.noises} mini-batches"
        )
    if set(tables) != set(method.tables):
        raise UnsuitableError(f"method {method.kind} needs the tables {sorted(method.tables)}, got {sorted(tables)}")
    for name, table in tables.items():
        if len(table) != len(train_split):
            raise UnsuitableError(
                f"table {name}: has {len(table)} rows, the training split has {len(train_split)} images"
            )


def require_shareable(method: MethodSpec, ranks: Ranks, images: int) -> None:
    """`UnsuitableError` where `ranks` cannot share the mini-batches and this many images."""
    if ranks.world > 1 and not method.parallel:
        raise UnsuitableError(f"method {method.kind} does not train in several processes; give it one device")
    least = min(images, method.batch // (method.noises if method.splits else 1))
    if ranks.world > least:
        raise UnsuitableError(
            f"{ranks.world} processes cannot share {least} images; give this training at most {least} devices"
        )
