"""A strip of pictures: clean images, the same with noise, and what each denoiser makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from certflow.data.augmentation import to_unit
from certflow.data.base import DatasetSpec, Split
from certflow.data.store import content_digest, open_split
from certflow.denoising.composed import denoiser_of
from certflow.errors import DataError
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive, spec_class
from certflow.models.header import read_header
from certflow.noise.base import Key, NoiseSpec
from certflow.noise.streams import Stream
from certflow.report.names import level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = 0.62
"""Side of one picture."""


@dataclass(frozen=True)
class Strip:
    """Pictures at one noise level: float32 [images, columns, channels, height, width] in [0,1]; the columns have names."""

    sigma: float
    columns: tuple[str, ...]
    pictures: np.ndarray


@torch.inference_mode()
def strip(
    denoisers: Mapping[str, torch.nn.Module],
    test: Split,
    noise: NoiseSpec,
    index: np.ndarray,
    *,
    seed: int,
    device: Any,
) -> Strip:
    """The images at `index` clean, with one draw of `noise`, and after each denoiser (eval mode, on `device`), cut to [0,1].

    Every denoiser sees the same noisy images. Cutting is for the eye only: denoisers get what is outside [0,1] too.
    """
    x = to_unit(torch.as_tensor(test.read(index), device=device))
    at = torch.as_tensor(index, device=device)
    noisy = noise.copies(x, Key.of(at, 0, seed=seed, stream=Stream.TRAIN_EVALUATION))
    columns = [x, noisy, *(denoiser(noisy) for denoiser in denoisers.values())]
    pictures = torch.stack([column.float().clamp(0, 1) for column in columns], dim=1)
    return Strip(noise.sigma, ("clean", "noisy", *denoisers), pictures.cpu().numpy())


def draw_strips(strips: Sequence[Strip]) -> "Figure":
    """All strips below each other, a block of rows per noise level; columns are named at the top."""
    from matplotlib.figure import Figure

    from certflow.report.style import look

    columns = list(dict.fromkeys(name for strip in strips for name in strip.columns))
    rows = [(strip, picture) for strip in strips for picture in range(len(strip.pictures))]
    with look():
        figure = Figure(figsize=(INCHES * len(columns) + 0.6, INCHES * len(rows) + 0.5), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for line, (strip, picture) in zip(axes, rows, strict=True):
            for ax, name in zip(line, columns, strict=True):
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                if name in strip.columns:
                    _show(ax, strip.pictures[picture, strip.columns.index(name)])
            if picture == 0:
                line[0].set_ylabel(level(strip.sigma))
        for ax, name in zip(axes[0], columns, strict=True):
            ax.set_title(name.replace("-", "\n", 1), fontsize=6)
    return figure


def _show(ax: Any, picture: np.ndarray) -> None:
    """One picture [channels, height, width]; gray for one channel."""
    image = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def draw_denoised(
    spec: Mapping[str, Any],
    dataset: DatasetSpec,
    *,
    manifest: str | Path,
    models: Sequence[str | Path],
    paths: Sequence[str | Path],
    device: Any,
) -> None:
    """Write the strips of an experiment's denoised methods to each of `paths`. spec: `Study.strip_spec`.

    models: the model files of `spec["runs"]`, in their order; those made from another specification are refused.
    """
    from certflow.report.drawn import FORMAT
    from certflow.report.style import save

    test, info = open_split(dataset, manifest, "test"), dataset.info()
    data = content_digest(manifest)
    index = np.arange(spec["images"], dtype=np.int64) * len(test) // spec["images"]
    denoisers: dict[str, dict[str, torch.nn.Module]] = {}
    noises: dict[str, NoiseSpec] = {}
    for run, path in zip(spec["runs"], models, strict=True):
        kind = spec_class("method", run["spec"]["method"]["kind"])
        network, record = kind.load(path, run["spec"], info, spec=run["spec"])
        if record.parents.get("data") not in (None, data):
            raise DataError(f"{path}: was made from other images than those of {manifest}; delete it and run again")
        denoiser = denoiser_of(network)
        if denoiser is None:
            raise DataError(f"{path}: has no denoiser to be shown; leave its method out of the strip")
        denoisers.setdefault(run["noise"], {})[run["method"]] = denoiser.to(device).eval()
        noises[run["noise"]] = revive("noise", run["spec"]["noise"])
    strips = [strip(denoisers[name], test, noises[name], index, seed=spec["seed"], device=device) for name in denoisers]
    parents = {"data": content_digest(manifest, "test"), **{str(path): read_header(path)[1] for path in models}}
    save(draw_strips(strips), paths, Provenance(format=FORMAT, spec=spec, parents=parents))
