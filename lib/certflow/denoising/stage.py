"""Denoisers as stages of the pipeline: trained by themselves over a range of levels, or put before a frozen classifier."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow.data.base import DataInfo, DatasetSpec
from certflow.data.store import content_digest, open_split
from certflow.denoising.base import DenoiserSpec
from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.denoiser import Denoiser
from certflow.denoising.quality import measure
from certflow.denoising.restoration import Restorer
from certflow.denoising.stored import condition_of, fresh, load_denoised, seen
from certflow.denoising.trainee import Trainee
from certflow.errors import ArtefactError
from certflow.files.artefact import Provenance
from certflow.files.attempts import finish_attempts
from certflow.files.contents import contents, require_contents
from certflow.files.tensorfile import read_tensors
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import digest
from certflow.machine.naming import device_name
from certflow.models import build, save_model
from certflow.models.fitting import fit
from certflow.models.header import carried_warnings, read_header
from certflow.models.normalise import Normalise
from certflow.noise import noise as noise_of
from certflow.training.log import LOG_FORMAT, LogFile
from certflow.training.loop import train
from certflow.training.seeding import seed_everything

if TYPE_CHECKING:
    from certflow.training.kinds.denoised import Denoised

FORMAT = "denoiser"


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
    info, seed = dataset.info(), spec["seed"]
    denoiser, parents = revive("denoiser", spec["denoiser"]), {"data": content_digest(manifest)}
    resume = Path(model).with_name("resume.pt")
    seed_everything(seed)
    restorer = Restorer(denoiser.build(info, None))
    record = Provenance(format=FORMAT, spec=spec, parents=parents, device=device_name(device))
    result = train(
        denoiser.train,
        restorer,
        open_split(dataset, manifest, "train"),
        open_split(dataset, manifest, "test"),
        noise=noise_of("none"),
        seed=seed,
        device=device,
        augmentation=info.augmentation,
        resume=resume,
        digest=digest({"spec": spec, "parents": parents}),
        log=LogFile(Path(log), replace(record, format=LOG_FORMAT)),
        description=description,
    )
    save_model(model, restorer.best(denoiser.train.average).network, replace(record, notes=result.notes))
    resume.unlink(missing_ok=True)
    finish_attempts(resume)


def build_denoised(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    method: "Denoised",
    denoiser: DenoiserSpec | None,
    *,
    manifest: str | Path,
    parts: Mapping[str, str | Path],
    trained: str | Path | None = None,
    model: str | Path,
    log: str | Path | None = None,
    device: Any,
    description: str = "denoised",
) -> None:
    """Put a denoiser before a frozen classifier, train it there if the method has an objective, and write both to `model`.

    spec: `Study.model_spec`. parts: the files of the models that the method refers to, by their role (`classifier`, `init`,
    `surrogate00`, …); trained: the file of a denoiser that was trained by itself. `log` gets the log of the training.
    """
    info, seed = dataset.info(), spec["seed"]
    noise, split = revive("noise", spec["noise"]), open_split(dataset, manifest, "test")
    seed_everything(seed)
    first, found = _denoiser(spec, denoiser, info, parts, trained)
    require_contents(spec, contents({} if denoiser is None else denoiser.brought()))
    composed = DenoiseThenClassify(first, _classifier(spec, info, parts), clamp=method.clamp, resize=method.resize)
    parents = {"data": content_digest(manifest), **_digests(parts, trained, found)}
    resume = Path(model).with_name("resume.pt")
    facts = {"condition": condition_of(spec) if first is not None and first.told else None, **found}
    record = Provenance(format="model", spec=spec, parents=parents, device=device_name(device), facts=facts)
    notes: dict[str, Any] = {}
    if method.objective is not None:
        surrogates = [_part(spec, info, parts, role) for role in sorted(parts) if role.startswith("surrogate")]
        notes = train(
            method,
            Trainee(composed, surrogates),
            open_split(dataset, manifest, "train"),
            split,
            noise=noise,
            seed=seed,
            device=device,
            augmentation=info.augmentation,
            resume=resume,
            digest=digest({"spec": spec, "parents": parents}),
            log=None if log is None else LogFile(Path(log), replace(record, format=LOG_FORMAT)),
            description=description,
        ).notes
    quality = measure(composed.to(device).eval(), split, noise, seed=seed, device=device)
    _tell(model, quality, noise.sigma)
    told = {**notes, "quality": quality, **_warnings(parts)}
    save_model(model, composed, replace(record, notes=told))
    resume.unlink(missing_ok=True)
    finish_attempts(resume)


def _denoiser(
    spec: Mapping[str, Any],
    denoiser: DenoiserSpec | None,
    info: DataInfo,
    parts: Mapping[str, str | Path],
    trained: str | Path | None,
) -> tuple[Denoiser | None, dict[str, Any]]:
    """The denoiser with the weights it starts from, told its noise level, and facts that its architecture depends on."""
    if denoiser is None:
        return None, {}
    condition = condition_of(spec)
    if "init" in parts:
        start, record = load_denoised(parts["init"], spec["parts"]["init"], info, spec=spec["parts"]["init"])
        return start.denoiser, {"denoiser": record.facts.get("denoiser")}
    if trained is not None:
        return load_trained(trained, spec, denoiser, info, condition), {}
    if denoiser.trained:
        found, notes = denoiser.load_weights(info, condition)
        return found, {"denoiser": notes}
    return denoiser.build(info, condition), {}


def load_trained(
    path: str | Path, spec: Mapping[str, Any], denoiser: DenoiserSpec, info: DataInfo, condition: float | None
) -> Denoiser:
    """The denoiser that `train_denoiser` wrote, told a noise level. `ArtefactError` if it was made from another spec."""
    wanted = {"dataset": spec["dataset"], "denoiser": spec["parts"]["denoiser"], "seed": spec["seed"]}
    state, _ = read_tensors(path, format=FORMAT, spec=wanted)
    found = fresh(denoiser, info, condition)
    fit(found.network, state, path, exact=True)
    return found


def _classifier(spec: Mapping[str, Any], info: DataInfo, parts: Mapping[str, str | Path]) -> torch.nn.Module:
    """The frozen classifier: one that another method made, or the architecture's own pretrained weights."""
    if "classifier" in parts:
        return _part(spec, info, parts, "classifier")
    return off_the_shelf(spec, info)


def off_the_shelf(spec: Mapping[str, Any], info: DataInfo) -> torch.nn.Module:
    """The architecture with the pretrained weights it comes with, normalising as it was pretrained, or as the method says.

    `ArtefactError` where it was pretrained for another number of classes: its head would be made of random numbers.
    """
    method = spec["method"]
    network = build(revive("model", {"inference": {}, **spec["model"]}), seen(info, method["resize"]))
    made_for = getattr(network[1], "pretrained_cfg", {})
    classes = made_for.get("num_classes")
    if classes != info.classes:
        raise ArtefactError(
            f"{spec['model'].get('name', spec['model']['kind'])}: was pretrained for {classes} classes, the data have "
            f"{info.classes}; train a classifier by another method and name it as `classifier`"
        )
    channels = info.shape[0]
    if method["input_norm"] == "half":
        network[0] = Normalise([0.5] * channels, [0.5] * channels)
    elif made_for.get("mean") is not None:
        network[0] = Normalise(made_for["mean"], made_for["std"])
    return network


def _part(spec: Mapping[str, Any], info: DataInfo, parts: Mapping[str, str | Path], role: str) -> torch.nn.Module:
    wanted = spec["parts"][role]
    kind = spec_class("method", wanted["method"]["kind"])
    return kind.load(parts[role], wanted, info, spec=wanted)[0]


def _digests(parts: Mapping[str, str | Path], trained: str | Path | None, facts: Mapping[str, Any]) -> dict[str, str]:
    """What the result was made from: digests of weights made here, and of files brought along."""
    found = {role: read_header(path)[1] for role, path in parts.items()}
    if trained is not None:
        found["denoiser"] = read_header(trained)[1]
    brought = facts.get("denoiser") or {}
    return {**found, "denoiser": brought["sha256"]} if "sha256" in brought else found


def _warnings(parts: Mapping[str, str | Path]) -> dict[str, Any]:
    """Notes: what was found wrong with the models that the result is made from, when they were imported."""
    return carried_warnings(*(read_header(path)[0] for path in parts.values()))


def _tell(model: str | Path, quality: Mapping[str, Any], sigma: float) -> None:
    psnr = "exact" if quality["psnr"] is None else f"{quality['psnr']:.2f} dB"
    print(
        f"{model}: {quality['images']} test images at sigma {sigma:g}: PSNR {psnr}; right on "
        f"{quality['accuracy']:.1%} denoised, {quality['accuracy_without']:.1%} noisy, {quality['accuracy_clean']:.1%} clean",
        file=sys.stderr,
        flush=True,
    )
