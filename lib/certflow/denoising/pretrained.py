"""Diffusion models that were trained elsewhere: folders of the diffusers library, models of a hub, checkpoints of OpenAI.

A folder is flat (`config.json` beside its weights, `scheduler_config.json` too) or that of a pipeline (`unet/`, `scheduler/`).
Weights are read from safetensors, or from PyTorch's own format without unpickling anything but tensors.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow.data.base import DataInfo
from certflow.denoising.networks.unet import UNet
from certflow.denoising.schedule import Schedule
from certflow.errors import ArtefactError
from certflow.files.intact import file_digest, reading
from certflow.kinds.spec import digest
from certflow.models.fitting import fit
from certflow.models.hf_folder import cached, read_json
from certflow.models.reading import read_tensors

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser
    from certflow.denoising.kinds.diffusion import Diffusion

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SCHEDULER = "scheduler_config.json"
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
"""What diffusers calls a schedule → what we do."""


def files_of(path: str | Path) -> list[str]:
    """The files behind `weights`: those of a folder that say what the model is, or the one file itself."""
    if not os.path.isdir(path):
        return [str(path)]
    config, weights, scheduler = _inside(Path(path))
    return [str(file) for file in (config, weights, scheduler) if file is not None]


def load_pretrained(spec: "Diffusion", info: DataInfo, condition: float | None) -> tuple["Denoiser", dict[str, Any]]:
    """The denoiser with the weights of `spec.weights` or `spec.hub`, and notes: its settings and the SHA-256 of its files.

    Raises `ArtefactError` for a model that is missing (naming where it was looked for), damaged, made for other images, of a
    kind that is not known, or whose weights do not fit; ValueError for a noise level beyond its schedule.
    """
    path = Path(spec.weights) if spec.weights is not None else _from_hub(spec)
    notes, state = _folder(path) if path.is_dir() else _checkpoint(path, spec, info)
    channels, outputs = notes["unet"]["in_channels"], notes["unet"]["out_channels"]
    if channels != info.shape[0] or outputs not in (channels, 2 * channels):
        raise ArtefactError(
            f"{path}: takes images of {channels} channels and gives {outputs}; the data have {info.shape[0]} channels; take a "
            f"model made for them"
        )
    denoiser = spec.build(info, condition, notes)
    unet: Any = denoiser.network.unet
    fit(unet, _modern(state, unet), path, exact=False)
    return denoiser, {**notes, "sha256": digest([file_digest(file) for file in files_of(path)])}


def _folder(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Notes and weights of a folder of the diffusers library."""
    config, weights, scheduler = _inside(path)
    settings = read_json(config)
    if settings.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise ArtefactError(
            f"{config}: is a {settings['_class_name']}; a UNet2DModel is needed; take an unconditional model"
        )
    if settings.get("num_class_embeds") is not None:
        raise ArtefactError(
            f"{config}: is conditioned on the class, which a denoiser must not know; take an unconditional one"
        )
    plain = {key: value for key, value in settings.items() if not key.startswith("_")}
    missing = {"in_channels", "out_channels", "block_out_channels"} - plain.keys()
    if missing:
        raise ArtefactError(f"{config}: does not state {', '.join(sorted(missing))}; get the file again")
    with reading(config, "take a model that the diffusers library installed here can build"), torch.device("meta"):
        UNet(plain)
    notes = {"unet": plain, "time_scale": 1.0, **_schedule(scheduler)}
    return notes, {key: tensor.float() for key, tensor in read_tensors(weights).items()}


def _schedule(scheduler: Path | None) -> dict[str, Any]:
    """Schedule and kind of prediction from a scheduler's configuration; without one those of the entry are taken."""
    if scheduler is None:
        return {}
    said = read_json(scheduler)
    kind = str(said.get("beta_schedule"))
    further = [name for name in ("trained_betas", "rescale_betas_zero_snr") if said.get(name)]
    if kind not in SCHEDULES or further:
        shown = " with ".join([repr(kind), *further])
        raise ArtefactError(f"{scheduler}: its schedule is {shown}; known: {', '.join(SCHEDULES)}, as they are")
    schedule: dict[str, Any] = {"kind": SCHEDULES[kind], "steps": said.get("num_train_timesteps", 1000)}
    if kind != "squaredcos_cap_v2":
        schedule |= {"beta_start": said.get("beta_start", 1e-4), "beta_end": said.get("beta_end", 0.02)}
    with reading(scheduler, "get the file again"):
        Schedule(**schedule)
    prediction = said.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "sample", "v_prediction"):
        raise ArtefactError(f"{scheduler}: predicts {prediction!r}; known: epsilon, sample, v_prediction")
    return {"schedule": schedule, "prediction": prediction}


def _checkpoint(path: Path, spec: "Diffusion", info: DataInfo) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Notes and weights, under diffusers' names, of a checkpoint of OpenAI's U-Nets."""
    from certflow.denoising.openai import convert, is_openai, layout

    state = read_tensors(path)
    if not is_openai(state):
        raise ArtefactError(
            f"{path}: is not a checkpoint of OpenAI's U-Nets; give the folder of a diffusers model, with its {CONFIG}"
        )
    found = layout(state, path)
    settings = found.settings(info.shape[1], spec.head_dim, spec.groups)
    return {"unet": settings}, convert(state, found, spec.head_dim, path)


def _from_hub(spec: "Diffusion") -> Path:
    """The folder in the hub's local cache, filled before where the entry allows that."""
    wanted = ("*.json", "*.safetensors", "*.bin")
    return cached(spec.hub, spec.hub_revision, download=spec.download, patterns=wanted)


def _inside(path: Path) -> tuple[Path, Path, Path | None]:
    """Configuration, weights and scheduler's configuration (if any) of a folder, flat or of a pipeline."""
    home = path / "unet" if (path / "unet" / CONFIG).exists() else path
    if not (home / CONFIG).exists():
        raise ArtefactError(
            f"{path}: is not the folder of a diffusers model: it has neither {CONFIG} nor unet/{CONFIG}"
        )
    weights = next((home / name for name in WEIGHTS if (home / name).exists()), None)
    if weights is None:
        raise ArtefactError(f"{home}: holds no weights; looked for {', '.join(WEIGHTS)}")
    places = (path / SCHEDULER, path / "scheduler" / SCHEDULER)
    return home / CONFIG, weights, next((place for place in places if place.exists()), None)


def _modern(state: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights with the names that attentions have had since 2023, if the file has older ones."""
    older = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    wanted, result = network.state_dict(), {}
    for key, tensor in state.items():
        name = key
        for old, new in older.items():
            name = name if key in wanted else name.replace(old, new)
        result[name] = tensor
    return result
