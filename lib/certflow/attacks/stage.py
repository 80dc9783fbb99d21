"""Attacks as a stage of the pipeline: one model, one set of images, one attack, one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.attacks.running import Found, attack_images
from certflow.attacks.victim import Victim
from certflow.data.augmentation import to_unit
from certflow.data.base import DatasetSpec
from certflow.data.subset import Images
from certflow.errors import DataError
from certflow.files.artefact import Provenance, write_table
from certflow.kinds.registry import revive, spec_class
from certflow.machine.naming import device_name
from certflow.machine.progress import progress
from certflow.sampling.arguments import as_tensor
from certflow.sampling.stage import Setting, open_setting

if TYPE_CHECKING:
    import pandas as pd

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

    subset = Images.model_validate(spec["images"])
    setting = open_setting(spec, dataset, manifest, model, device, subset.split)
    try:
        index = subset.indices(len(setting.split))
    except ValueError as error:
        raise DataError(f"{manifest}: {error}; change the `images` entry") from None
    attack, victim = revive("attack", spec["attack"]), _victim(spec, dataset, model, setting)
    x = to_unit(as_tensor(setting.split.read(index)))
    label = setting.split.labels[index].astype(np.int64)
    predict = attack.predicted(victim, x.to(setting.base.device), index)
    tables = []
    with progress(len(attack.eps), "radius", "attack") as bar:
        for eps in attack.eps:
            found = attack_images(attack, victim, x, label, index, np.full(len(index), eps), predict)
            tables.append(attack_table(found, index, eps))
            bar.update(1)
    record = Provenance(
        format=FORMAT,
        spec=spec,
        parents=setting.parents,
        device=device_name(setting.base.device),
        notes={**setting.notes, "norm": attack.norm, "smoothed": attack.smoothed},
    )
    write_table(table, pd.concat(tables, ignore_index=True), record)


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


def _victim(spec: Mapping[str, Any], dataset: DatasetSpec, model: str | Path, setting: Setting) -> Victim:
    """The model as it is judged, which `open_setting` has prepared, and once more as it was written, for gradients."""
    module, _ = spec_class("method", spec["method"]["kind"]).load(model, spec, dataset.info())
    return Victim(module.to(setting.base.device), setting.base, setting.noise, setting.seed)
