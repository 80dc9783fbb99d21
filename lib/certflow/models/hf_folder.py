"""Folders of models as transformers writes them: what they say of themselves, read without that library."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certflow.data.base import DataInfo
from certflow.data.text.pretrained import SHIFT
from certflow.errors import ArtefactError
from certflow.files.intact import parsed_json, read_bounded, reading
from certflow.models.shapes import describe

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INPUT = "preprocessor_config.json"
TOKENIZER = "tokenizer.json"
COMMIT = re.compile("[0-9a-f]{40}")
WRITTEN = 1e-3
"""1/255 is sometimes written with few digits."""


def misfits(path: str | Path, info: DataInfo, *, stored: bool = True) -> list[str]:
    """Why the model in a folder cannot classify such data; empty: nothing in its settings is against it.

    stored: by its own last layer.
    """
    try:
        settings = said(path)
    except ArtefactError as error:
        return [str(error)]
    of_items = _of_images if info.vocabulary is None else _of_texts
    return [*(_of_classes(path, settings, info) if stored else []), *of_items(path, settings, info)]


def require_fitting(path: str | Path, info: DataInfo, *, stored: bool = True) -> None:
    """`ArtefactError` with all `misfits`, if there are any."""
    wrong = misfits(path, info, stored=stored)
    if wrong:
        raise ArtefactError("; ".join(wrong))


def _of_classes(path: str | Path, settings: dict[str, Any], info: DataInfo) -> list[str]:
    classes = _labels(settings)
    if classes == info.classes:
        return []
    return [
        f"{path}: has {classes} labels, the {_ITEMS[info.item.name]} have {info.classes} classes; take a model made for them"
    ]


def is_folder(path: str | Path) -> bool:
    """Whether a folder looks like one that `save_pretrained` wrote."""
    return (Path(path) / CONFIG).is_file()


def image_shape(path: str | Path) -> tuple[int, ...] | None:
    """Channels, height and width of the images that a folder's classifier is made for; None where it takes every size."""
    settings = said(path)
    sides = _sides(settings)
    return None if sides is None else (_channels(settings), *sides)


def image_data(path: str | Path, shape: Sequence[int]) -> DataInfo:
    """Images of this shape as a folder's classifier sees them: of its classes."""
    return DataInfo(classes=_labels(said(path)), shape=tuple(shape))


def _labels(settings: Mapping[str, Any]) -> int:
    return len(settings["id2label"]) if settings.get("id2label") else settings.get("num_labels", 2)


def _channels(settings: Mapping[str, Any]) -> int:
    return settings.get("num_channels", 3)


def _sides(settings: Mapping[str, Any]) -> list[int] | None:
    """Height and width, where the network is made for one size."""
    size = settings.get("image_size")
    return [size, size] if isinstance(size, int) else size


_ITEMS = {"pixels": "images", "tokens": "texts"}


def _of_texts(path: str | Path, settings: dict[str, Any], info: DataInfo) -> list[str]:
    found, (length,), known = [], info.shape, info.words - SHIFT
    if settings.get("is_encoder_decoder") or any("ForCausalLM" in name for name in settings.get("architectures") or ()):
        found.append(f"{path}: writes texts ({settings.get('model_type')}); take an encoder, such as a BERT")
    words = settings.get("vocab_size")
    if words != known:
        found.append(
            f"{path}: knows {words} tokens, the data have {known}; use `tokenizer: pretrained` with this "
            f"folder as `pretrained` and `vocabulary: {words}`"
        )
    longest = settings.get("max_position_embeddings")
    if longest is not None and longest < length:
        found.append(f"{path}: takes texts of {longest} tokens, the data have {length}; lower the dataset's `length`")
    return found


def special_numbers(path: str | Path) -> frozenset[int]:
    """The tokenizer's own numbers of marks that are not words; none where the folder has no tokenizer."""
    file = Path(path) / TOKENIZER
    marks = read_json(file).get("added_tokens", []) if file.is_file() else []
    return frozenset(mark["id"] for mark in marks if mark.get("special"))


def require_complete(path: str | Path, found: Mapping[str, Any]) -> None:
    """No weight may be missing, left over or of another shape: transformers draws random numbers for it in silence."""
    kinds = {"missing_keys": "lacks", "unexpected_keys": "has in addition", "mismatched_keys": "has in another shape"}
    wrong = [
        f"{verb} {', '.join(map(str, sorted(found[kind])[:4]))}" for kind, verb in kinds.items() if found.get(kind)
    ]
    if wrong:
        raise ArtefactError(
            f"{path}: its weights do not fit the classifier: {'; '.join(wrong)}; get the whole folder again (an encoder of "
            f"texts alone: set `head: mean`)"
        )


def _of_images(path: str | Path, settings: dict[str, Any], info: DataInfo) -> list[str]:
    channels, sides = _channels(settings), _sides(settings)
    found = []
    if channels != info.shape[0]:
        found.append(
            f"{path}: takes images of {channels} channels, not {describe(info.shape)}; take a model made for them"
        )
    if sides is not None and list(sides) != list(info.shape[1:]):
        resize = sides[0] if sides[0] == sides[-1] else list(sides)
        found.append(
            f"{path}: takes images of {sides[0]}x{sides[-1]} pixels, not {describe(info.shape)}; set resize: {resize}"
        )
    return found


def said(path: str | Path) -> dict[str, Any]:
    """The settings in a folder's `config.json`; `ArtefactError` for a folder that lacks files, or wants code of its own run."""
    path = Path(path)
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    if missing:
        raise ArtefactError(
            f"{path}: is not the folder of a model of transformers: it has no {', '.join(missing)}; name the folder that "
            f"`save_pretrained` wrote"
        )
    settings = read_json(path / CONFIG)
    if "auto_map" in settings:
        raise ArtefactError(
            f"{path}: comes with code of its own (auto_map in {CONFIG}), which is not run here; take a model whose code "
            f"is in the library"
        )
    return settings


def files_of(path: str | Path, names: Sequence[str]) -> list[str]:
    """The files of a folder that have these names, of those that are there."""
    return [str(file) for file in (Path(path) / name for name in names) if file.is_file()]


def normalisation(path: str | Path, channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel by which the folder's model normalises images in [0,1].

    The file's own are those of grey levels 0 to 255 times its `rescale_factor`, nearly always 1/255, or as they are.
    """
    file = Path(path) / INPUT
    stated = read_json(file) if file.is_file() else {}
    mean, sd = [0.0] * channels, [1.0] * channels
    with reading(file, "get the file again"):
        if stated.get("do_normalize", True) and "image_mean" in stated:
            mean, sd = _per_channel(stated["image_mean"], channels), _per_channel(stated["image_std"], channels)
        factor = float(stated.get("rescale_factor") or 1 / 255) if stated.get("do_rescale", True) else 1.0
    largest = 255 * factor
    if abs(largest - 1) < WRITTEN:
        return mean, sd
    return [value / largest for value in mean], [value / largest for value in sd]


def _per_channel(values: Any, channels: int) -> list[float]:
    return [float(value) for value in values] if isinstance(values, list) else [float(values)] * channels


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file; `ArtefactError` where it is damaged or holds something else."""
    with reading(path, "get the file again"):
        content = parsed_json(read_bounded(path))
        if not isinstance(content, dict):
            raise ValueError("it does not hold settings by name")
        return content


def pinned(hub: str | None, revision: str | None) -> None:
    """ValueError for a model of a hub without its commit: what its name stands for, or that of a branch, changes with time."""
    if hub is not None and not COMMIT.fullmatch(revision or ""):
        raise ValueError(
            f"hub_revision: say which commit of {hub} is meant, by its 40 digits as the hub shows them; the newest one may be "
            f"another tomorrow, and nothing would be made again"
        )


def uncached(hub: str | None, revision: str | None, *, download: bool) -> list[str]:
    """What is said of a model that is not in the hub's local cache and may not be fetched; nothing of any other."""
    if hub is None or revision is None or download:
        return []
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    if (folder / "snapshots" / revision).is_dir():
        return []
    return [
        f"hub: {hub} is not in the cache at that commit, and `download` is off (looked for {folder}); set download: true, or "
        f"copy the model's folder here and name it as `weights`"
    ]


def cached(hub: str | None, revision: str | None, *, download: bool, patterns: Sequence[str]) -> Path:
    """The folder of a model in the hub's local cache, filled before where `download` allows that.

    `ArtefactError` names the folder that was looked for.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if hub is None:
        raise ArtefactError("hub: neither a model of a hub nor weights are named")
    try:
        return Path(
            snapshot_download(hub, revision=revision, local_files_only=not download, allow_patterns=list(patterns))
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        folder = Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
        how = "could not be fetched" if download else "is not in the cache, and `download` is off"
        raise ArtefactError(
            f"hub: {hub} {how} (looked for {folder}); copy the model's folder here and name it as `weights` ({error})"
        ) from error
