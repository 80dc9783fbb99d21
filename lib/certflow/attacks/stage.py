"""Attacks as a stage of the pipeline: one model, one set of images, one attack, one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.attacks.base import AttackSpec
from certflow.attacks.running import Found, attack_images
from certflow.attacks.texts import TextVictim
from certflow.attacks.victim import Victim
from certflow.data.base import DatasetSpec, Split
from certflow.data.items import Tokens, network_input
from certflow.data.store import read_manifest
from certflow.data.text.words import SPECIAL
from certflow.files.artefact import write_table
from certflow.files.lock import exclusive
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive, spec_class
from certflow.machine.naming import device_name
from certflow.machine.progress import progress
from certflow.models.header import carried_warnings, read_header
from certflow.models.words import reserve
from certflow.sampling.arguments import as_tensor
from certflow.sampling.origin import Around, around, checked_origin
from certflow.sampling.stage import open_setting

if TYPE_CHECKING:
    import pandas as pd
    import torch

FORMAT = "attack"
COLUMNS = ("idx", "label", "predict", "attacked_predict", "success", "norm", "eps", "queries", "seconds")
"""Columns of the table: one row per radius and image, radii increasing."""


def attack_model(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    table: str | Path,
    device: Any,
) -> None:
    """Attack a model on the chosen images at every radius of the attack, and write what was found.

    spec: `Study.attack_spec`. The table has `COLUMNS`.
    """
    import pandas as pd

    images = around(dataset, manifest, spec["images"], None)
    index = images.chosen(spec["images"], manifest)
    opened = _opened(spec, dataset, manifest, model, device, images)
    attack, victim = revive("attack", spec["attack"]), opened.victim
    record = Provenance(
        format=FORMAT,
        spec=spec,
        parents=opened.parents,
        device=device_name(victim.device),
        notes={**opened.notes, "norm": attack.norm, "smoothed": attack.smoothed},
    )
    # The times of two runs differ, and the record of one would not fit the other's table.
    with exclusive(table, "attacking"):
        write_table(table, pd.concat(_tables(attack, victim, images.split, index), ignore_index=True), record)


def _tables(attack: AttackSpec, victim: Victim | TextVictim, split: Split, index: np.ndarray) -> "list[pd.DataFrame]":
    """A table for each radius."""
    x, label = network_input(as_tensor(split.read(index))), split.labels[index].astype(np.int64)
    predict = attack.predicted(victim, x.to(victim.device), index)
    tables = []
    with progress(len(attack.eps), "radius", "attack") as bar:
        for eps in attack.eps:
            found = attack_images(attack, victim, x, label, index, np.full(len(index), eps), predict)
            tables.append(attack_table(found, index, eps))
            bar.update(1)
    return tables


def attack_table(found: Found, index: np.ndarray, eps: float) -> "pd.DataFrame":
    """`COLUMNS` of one radius, in the images' order."""
    import pandas as pd

    columns = {
        "idx": index,
        "label": found.label,
        "predict": found.predict,
        "attacked_predict": found.attacked_predict,
        "success": found.success.astype(np.int64),
        "norm": found.norm,
        "eps": float(eps),
        "queries": found.queries,
        "seconds": found.seconds,
    }
    return pd.DataFrame(columns)[list(COLUMNS)]


@dataclass(frozen=True)
class _Opened:
    """The model under attack, and what to record of it."""

    victim: Victim | TextVictim
    parents: Mapping[str, str]
    notes: Mapping[str, Any]


def _opened(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    manifest: str | Path,
    model: str | Path,
    device: Any,
    images: Around,
) -> _Opened:
    """The model as it was written, for gradients; of images also as it is judged, which `open_setting` prepares."""
    module, record = spec_class("method", spec["method"]["kind"]).load(model, spec, dataset.info())
    if dataset.info().item.name == Tokens.name:
        split = read_manifest(manifest).notes["splits"][spec["images"]["split"]]
        _reserve_unused(module, split["tokenizer"], dataset.info().words)
        parents = {"model": read_header(model)[1], "data": checked_origin(model, record, spec, manifest)}
        victim = TextVictim(module.to(device), spec["seed"])
        return _Opened(victim, parents, carried_warnings(record))
    setting = open_setting(spec, dataset, manifest, model, device, images)
    victim = Victim(module.to(setting.base.device), setting.base, setting.noise, setting.seed)
    return _Opened(victim, setting.parents, setting.notes)


def _reserve_unused(network: "torch.nn.Module", tokenizer: Mapping[str, Any], vocabulary: int) -> None:
    """Where the training texts have fewer words than the vocabulary, the last tokens stand for none and are no replacement."""
    if "words" in tokenizer:
        reserve(network, range(SPECIAL + len(tokenizer["words"]), vocabulary))
