"""Smoothed predictions as a stage: votes of a base classifier on every training image, one shard of them at a time."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certflow.data.base import DatasetSpec
from certflow.data.store import open_split
from certflow.data.views import Views
from certflow.noise.streams import Stream
from certflow.sampling.base import Measurement
from certflow.sampling.origin import Around
from certflow.sampling.plan import shard_bounds
from certflow.sampling.stage import open_setting, shard_number, write_measured
from certflow.training.predictions import SHARD_FORMAT, unusual


def smooth_predictions(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    counts: str | Path,
    shard: str,
    device: Any,
) -> None:
    """Count n votes on each training image of one shard (`2-of-4`) and write them to `counts`. spec: `Study.predictions_spec`.

    Resumable like stage 2 of sampling: a killed job goes on from its last saved state and ends with the same counts. Images
    are read when their turn comes.
    """
    settings, split = spec["predictions"], open_split(dataset, manifest, "train")
    if settings["augment"]:
        split = Views(split, dataset.info().augmentation, spec["seed"])
    images = Around(split, notes={"images": len(split)})
    setting = open_setting(spec, dataset, manifest, model, device, images)
    number, shards = shard_number(shard)
    bounds = shard_bounds(np.full(len(split), settings["n"], np.int64), shards)
    index = np.arange(bounds[number - 1], bounds[number], dtype=np.int64)
    draws = np.full(len(index), settings["n"], np.int64)
    warning = unusual(spec)
    if warning:
        print(f"note: {warning}", file=sys.stderr)
    measurement = Measurement("counts", setting.noise, Stream.SMOOTHED_PREDICTIONS, draws)
    write_measured(setting, spec, SHARD_FORMAT, index, [measurement], counts)
