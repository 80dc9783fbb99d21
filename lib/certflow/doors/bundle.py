"""A model of the pipeline as a folder to give away: weights, a card that says what they are, and how to use them."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certflow import __version__
from certflow.doors.bring import require_images
from certflow.errors import ArtefactError
from certflow.files.atomic import atomic
from certflow.files.parts import is_part_of
from certflow.models.header import is_ours

if TYPE_CHECKING:
    from certflow.doors.bring import PipelineModel

WEIGHTS, CARD, README, ONNX = "model.safetensors", "card.json", "README.md", "model.onnx"
TOLERANCE = 1e-4
"""By how much logits of the ONNX file may differ from torch's, relative to the largest."""
TEXT = """# {title}

A certflow model: {model} for {dataset}, trained by `{method}` under {noise} noise.
`card.json` holds everything it was made from.

    certflow certify --model model.safetensors --images test::20 --out table.tsv

`test::20` is every 20th image of the test split; `--root` says where the files of the data are, if they are not found.

In Python:

```python
from certflow import SmoothedClassifier
from certflow.doors.bring import from_results

brought = from_results("model.safetensors")
table = SmoothedClassifier(brought.model, brought.noise).certify(images)  # [images, {shape}], uint8 or floats in [0,1]
```

Both compute in float32. Where the model's entry in its experiment says otherwise (`inference`, which the file does not hold),
they give other counts than the experiment unless they are told the same: by `--precision`, `--compile` or `--native`, in Python
by `SmoothedClassifier(..., inference=certflow.models.base.Inference(...))`.
"""


def card(brought: "PipelineModel") -> dict[str, Any]:
    """What a stranger needs to know of a model: plain values."""
    return {
        "certflow": __version__,
        "weights_sha256": brought.digest,
        "input": {"shape": list(brought.shape), "range": [0.0, 1.0], "normalised_by": "the model itself"},
        "classes": brought.classes,
        "smoothing": brought.noise.canonical(),
        "made": dict(brought.made),
        "warnings": list(brought.warnings),
    }


def write_bundle(brought: "PipelineModel", folder: str | Path, *, onnx: bool = False) -> list[Path]:
    """Write the bundle; its files. The weights are the pipeline's file itself, so that `from_results` reads them.

    onnx: also `model.onnx`, with a free batch axis, compared with the network where onnxruntime is there. `ArtefactError` where
    something else lies in the folder, ImportError where the packages for ONNX are missing.
    """
    require_images(brought)
    folder = Path(folder)
    names = [WEIGHTS, CARD, README, *([ONNX] if onnx else [])]
    own = names if (folder / CARD).is_file() or is_ours(folder / WEIGHTS) else []
    strange = sorted(name for name in _names(folder) if name not in own and not is_part_of(name, names))
    if strange:
        raise ArtefactError(f"{folder}: holds other files ({', '.join(strange[:3])}); name a new or an empty folder")
    # All are written before the first gets its name. The last one here, the card, gets it first.
    with ExitStack() as whole:
        if onnx:
            export_onnx(brought, whole.enter_context(atomic(folder / ONNX)))
        whole.enter_context(atomic(folder / README)).write_text(_readme(brought), encoding="utf-8")
        shutil.copyfile(brought.name, whole.enter_context(atomic(folder / WEIGHTS)))
        stated = json.dumps(card(brought), indent=1, sort_keys=True)
        whole.enter_context(atomic(folder / CARD)).write_text(stated + "\n", encoding="utf-8")
    return [folder / name for name in names]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def export_onnx(brought: "PipelineModel", path: str | Path) -> None:
    """The network as an ONNX file: input `images` float32 [batch, channels, height, width] in [0,1], output `logits`."""
    try:
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError as error:
        raise ImportError("exporting to ONNX needs the package onnxscript: pip install onnxscript") from error
    x = torch.rand(3, *brought.shape, generator=torch.Generator().manual_seed(0))
    network, batch = brought.model.eval(), torch.export.Dim("batch", min=1)
    torch.onnx.export(
        network,
        (x,),
        str(path),
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
    )
    _compare(network, path, x)


@torch.inference_mode()
def _compare(network: torch.nn.Module, path: str | Path, x: torch.Tensor) -> None:
    """ArtefactError where the file is another function than the network; nothing where onnxruntime is missing."""
    from certflow.doors.onnx import OnnxModel

    try:
        found = OnnxModel(path)(x)
    except ImportError:
        return
    wanted = network(x)
    near = TOLERANCE * float(wanted.abs().max())
    if not isinstance(found, torch.Tensor) or not torch.allclose(found, wanted, rtol=0, atol=near):
        raise ArtefactError(f"{path}: the exported network gives other logits; certify the safetensors file instead")


def _readme(brought: "PipelineModel") -> str:
    made = brought.made
    kinds = {key: made[key]["kind"] for key in ("dataset", "model", "method")}
    noise = f"{made['noise']['kind']} (sigma {made['noise']['sigma']:g})"
    shape = ", ".join(map(str, brought.shape))
    title = f"{kinds['model']} for {kinds['dataset']}"
    return TEXT.format(title=title, noise=noise, shape=shape, **kinds)
