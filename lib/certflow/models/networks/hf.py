"""How the transformers library makes networks, whatever they classify: from settings, or from a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from certflow.errors import ArtefactError
from certflow.models.hf_folder import require_complete


@contextmanager
def building(architecture: str, what: str) -> Iterator[None]:
    """Within this context an architecture or settings that transformers does not know become a ValueError."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, StrictDataclassError) as error:
        raise ValueError(f"transformers could not build {architecture} for {what}: {error}") from error


def loaded(auto: Any, path: str | Path) -> Any:
    """The network in a folder with all its weights, float32; `ArtefactError` for one that cannot be read, or lacks some.

    auto: the class of transformers that reads it.
    """
    settings = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}
    try:
        with _without_progress():
            network, found = auto.from_pretrained(str(path), output_loading_info=True, **settings)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ArtefactError(f"{path}: transformers cannot read it: {error}") from error
    require_complete(path, found)
    return network


@contextmanager
def _without_progress() -> Iterator[None]:
    """Within this context transformers draws no bar on standard error: a folder is read in seconds, whoever asks."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def unloaded(auto: Any, path: str | Path) -> Any:
    """The same network with fresh weights."""
    from transformers import AutoConfig

    return auto.from_config(AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False))
