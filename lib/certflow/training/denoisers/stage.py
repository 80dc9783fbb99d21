"""Denoisers as a stage of the pipeline: trained by themselves, over a range of noise levels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certflow.data.base import DatasetSpec
from certflow.denoising.stored import DENOISER
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive
from certflow.machine.naming import device_name
from certflow.noise import noise as noise_of
from certflow.training.assembly import open_data
from certflow.training.denoisers.restoration import Restorer
from certflow.training.seeding import seed_everything
from certflow.training.stage import Outputs, learn


def train_denoiser(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    model: str | Path,
    log: str | Path,
    device: Any,
    description: str = "denoiser",
) -> None:
    """Train the denoiser of `spec` (`Study.denoiser_spec`) over its range of noise levels and write it to `model`.

    Resumable as every training is: the state of an interrupted run lies beside `model`.
    """
    data, denoiser, outputs = open_data(dataset, manifest), revive("denoiser", spec["denoiser"]), Outputs(model, log)
    seed_everything(spec["seed"])
    restorer = Restorer(denoiser.build(data.info, None))
    record = Provenance(format=DENOISER, spec=spec, parents={"data": data.digest}, device=device_name(device))
    method, noise = denoiser.train, noise_of("none")
    learnt = learn(method, restorer, data, record, outputs, noise=noise, device=device, description=description)
    outputs.store(restorer.best(method.average).network, replace(record, notes=learnt.notes))
