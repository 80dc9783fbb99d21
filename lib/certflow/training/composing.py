"""Denoise-then-classify networks put together from their parts: a denoiser, a frozen classifier, surrogates to learn from."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.denoiser import Denoiser
from certflow.denoising.quality import measure
from certflow.denoising.stored import DENOISER, condition_of, fresh, load_denoised, seen
from certflow.denoising.trainee import Trainee
from certflow.errors import ArtefactError
from certflow.files.contents import contents, require_contents
from certflow.files.tensorfile import read_tensors
from certflow.kinds.registry import revive, spec_class
from certflow.models import build
from certflow.models.fitting import fit
from certflow.models.header import carried_warnings, read_header
from certflow.models.normalise import Normalise
from certflow.training.assembly import Assembled, Given, own_weights

if TYPE_CHECKING:
    from certflow.training.kinds.denoised import Denoised


def compose(method: "Denoised", given: Given) -> Assembled:
    """The denoiser with the weights it starts from, before the frozen classifier; errors as in `MethodSpec.assemble`."""
    entry, parts = given.files.denoiser, given.files.parts
    denoiser, found = _denoiser(given)
    require_contents(given.spec, contents({} if entry is None else entry.brought()))
    classifier = _classifier(given)
    network = DenoiseThenClassify(denoiser, classifier, clamp=method.clamp, resize=method.resize)
    surrogates = [part(given, role) for role in sorted(parts) if role.startswith("surrogate")]
    takes_level = denoiser is not None and denoiser.takes_level
    facts = {"condition": condition_of(given.spec) if takes_level else None, **found}
    return Assembled(
        network,
        {"data": given.data.digest, **_digests(given, found, classifier)},
        facts,
        carried_warnings(*(read_header(path)[0] for path in parts.values())),
        Trainee(network, surrogates),
    )


def quality(network: DenoiseThenClassify, given: Given, model: str | Path) -> dict[str, Any]:
    """Notes: how near denoised test images are to the clean ones, and how often they are classified right; also on stderr."""
    found = measure(network.to(given.device).eval(), given.data.test, given.noise, seed=given.seed, device=given.device)
    _tell(model, found, given.noise.sigma)
    return {"quality": found}


def _denoiser(given: Given) -> tuple[Denoiser | torch.nn.Identity | None, dict[str, Any]]:
    """The denoiser with the weights it starts from, given its noise level, and facts that its architecture depends on."""
    entry, parts, trained = given.files.denoiser, given.files.parts, given.files.trained
    if entry is None:
        return None, {}
    condition = condition_of(given.spec)
    if "init" in parts:
        wanted = given.spec["parts"]["init"]
        start, record = load_denoised(parts["init"], wanted, given.info, spec=wanted)
        return start.denoiser, {"denoiser": record.facts.get("denoiser")}
    if trained is not None:
        return load_trained(trained, given.spec, entry, given.info, condition), {}
    if entry.trained:
        found, notes = entry.load_weights(given.info, condition)
        return found, {"denoiser": notes}
    return entry.build(given.info, condition), {}


def load_trained(
    path: str | Path, spec: Mapping[str, Any], denoiser: DenoiserSpec, info: DataInfo, condition: float | None
) -> Denoiser:
    """The denoiser that `train_denoiser` wrote, given a noise level. `ArtefactError` if it was made from another spec."""
    wanted = {"dataset": spec["dataset"], "denoiser": denoiser.trained_as(), "seed": spec["seed"]}
    state, _ = read_tensors(path, format=DENOISER, spec=wanted)
    found = fresh(denoiser, info, condition)
    fit(found.network, state, path, exact=True)
    return found


def _classifier(given: Given) -> torch.nn.Module:
    """The frozen classifier: one that another method made, or the architecture's own pretrained weights."""
    return part(given, "classifier") if "classifier" in given.files.parts else off_the_shelf(given.spec, given.info)


def off_the_shelf(spec: Mapping[str, Any], info: DataInfo) -> torch.nn.Module:
    """The architecture with the pretrained weights it comes with, normalising as it was pretrained, or as the method says.

    `ArtefactError` where it was pretrained for another number of classes: its head would be made of random numbers.
    """
    method = spec["method"]
    network = build(revive("model", spec["model"]), seen(info, method["resize"]))
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


def part(given: Given, role: str) -> torch.nn.Module:
    """Another model, by its role, in eval mode on the CPU; errors as in `MethodSpec.load`."""
    wanted = given.spec["parts"][role]
    kind = spec_class("method", wanted["method"]["kind"])
    return kind.load(given.files.parts[role], wanted, given.info, spec=wanted)[0]


def _digests(given: Given, facts: Mapping[str, Any], classifier: torch.nn.Module) -> dict[str, str]:
    """What the result was made from: digests of weights made here, and of files brought along."""
    found = {role: read_header(path)[1] for role, path in given.files.parts.items()}
    if "classifier" not in given.files.parts:
        found |= own_weights(given, classifier)
    if given.files.trained is not None:
        found["denoiser"] = read_header(given.files.trained)[1]
    brought = facts.get("denoiser") or {}
    return {**found, "denoiser": brought["sha256"]} if "sha256" in brought else found


def _tell(model: str | Path, quality: Mapping[str, Any], sigma: float) -> None:
    psnr = "exact" if quality["psnr"] is None else f"{quality['psnr']:.2f} dB"
    print(
        f"{model}: {quality['images']} test images at sigma {sigma:g}: PSNR {psnr}; right on "
        f"{quality['accuracy']:.1%} denoised, {quality['accuracy_without']:.1%} noisy, {quality['accuracy_clean']:.1%} clean",
        file=sys.stderr,
        flush=True,
    )
