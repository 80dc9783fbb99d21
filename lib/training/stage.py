"""Training as a stage of the pipeline: from a prepared dataset to a stored model and its log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.artefact import Provenance
from lib.data.base import DatasetSpec
from lib.data.store import content_digest, open_split
from lib.device import device_name
from lib.models import build, save_model
from lib.registry import revive
from lib.spec import digest
from lib.training.base import MethodSpec
from lib.training.loop import train
from lib.training.seeding import seed_everything


def train_model(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: MethodSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    log: str | Path,
    device: Any,
    description: str = "train",
) -> None:
    """Train the model that `spec` describes and write it to `model`, its log to `log`.

    spec: `Study.model_spec`. The state of an interrupted run lies beside `model` as `resume.pt`, bound to the spec and to the
    content of the data; it is removed once the model is stored.
    """
    info, seed = dataset.info(), spec["seed"]
    parents = {"data": content_digest(manifest)}
    resume = Path(model).with_name("resume.pt")
    seed_everything(seed)
    module = build(revive("model", {"inference": {}, **spec["model"]}), info)
    result = train(
        method,
        module,
        open_split(dataset, manifest, "train"),
        open_split(dataset, manifest, "test"),
        noise=revive("noise", spec["noise"]),
        seed=seed,
        device=device,
        augmentation=info.augmentation,
        resume=resume,
        digest=digest({"spec": spec, "parents": parents}),
        log=Path(log),
        description=description,
    )
    record = Provenance(format="model", spec=spec, parents=parents, device=device_name(device), notes=result.notes)
    save_model(model, module, record)
    resume.unlink(missing_ok=True)
