"""Every kind of file that certflow writes in order to read it again: what it is packed in, and what must be in it.

The one list of them. Writers refuse a format that is not here, readers refuse a file whose content is not as stated here, and
the fuzzer (`tools/fuzz`) refuses to run while a format here has no sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Container = Literal["record", "table", "arrays", "tensors", "pictures", "cache"]
"""`record`: JSON. `table`: tab-separated text with a record beside it. `arrays`: npz. `tensors`: safetensors.
`pictures`: files for people, with a record beside them. `cache`: a folder of npy files, named by a digest of its content."""

KINDS = {"whole": "iu", "number": "iuf", "truth": "b", "text": "USO"}
"""Word of a layout → numpy's kinds of dtypes."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    `needed`: name of an array or column → its type and the names of its dimensions, such as `whole images classes`; the same
    name means the same size in all of them. `optional`: likewise, for what need not be there. A table's columns have one
    dimension, which is not named. Further arrays have a row per image, further columns may hold anything.
    """

    container: Container
    needed: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)


MEASURED = {
    "idx": "whole images",
    "seconds": "number images",
    "counts": "whole images classes",
}
SECOND = {
    "counts_q": "whole images classes",
    "drawn": "whole images",
    "decided": "number images",
    "unsure": "whole images",
}
STAGE_1 = ("idx", "label", "selected", "k0", "k0_other", "n0", "n")

FORMATS: dict[str, Format] = {
    "dataset": Format("record"),
    "images": Format("cache"),
    "files": Format("cache"),
    "corrupted images": Format("record"),
    "model": Format("tensors"),
    "denoiser": Format("tensors"),
    "training state": Format("tensors"),
    "training log": Format(
        "table",
        {"epoch": "whole"}
        | dict.fromkeys(("seconds", "lr", "train_loss", "test_loss", "test_accuracy", "images_per_second"), "number"),
        {"train_accuracy": "number", "test_top5": "number"},
    ),
    "presample": Format("arrays", {**MEASURED, "label": "whole images"}),
    "plan": Format("table", {**dict.fromkeys(STAGE_1, "whole"), "seconds0": "number"}),
    "shard": Format("arrays", {**MEASURED, "label": "whole images"}, SECOND),
    "counts": Format("arrays", MEASURED, SECOND),
    "partial counts": Format(
        "arrays",
        {"counts": MEASURED["counts"], "seconds": MEASURED["seconds"]},
        {**SECOND, "rows": "whole", "look": "whole", "finished": "truth images"},
    ),
    "live counts": Format(
        "arrays",
        {"first": "whole classes", "counts": "whole classes", "seconds": "number", "best": "number"},
    ),
    "web pixels": Format("arrays", {"images": "whole images channels height width"}),
    "web job": Format("record"),
    "web state": Format("record"),
    "web findings": Format("record"),
    "web pictures": Format("arrays"),
    "web model": Format("record"),
    "predictions shard": Format("arrays", {**MEASURED, "label": "whole images"}),
    "predictions": Format("arrays", {"counts": MEASURED["counts"]}),
    "certificate": Format(
        "table", {**dict.fromkeys(("idx", "label", "predict", "correct"), "whole"), "radius": "number", "time": "text"}
    ),
    "attack": Format(
        "table",
        dict.fromkeys(("idx", "label", "predict", "attacked_predict", "success", "queries"), "whole")
        | dict.fromkeys(("norm", "eps", "seconds"), "number"),
    ),
    "features": Format("arrays", {"idx": "whole images", "label": "whole images", "logits": "number images classes"}),
    "volatility": Format(
        "table",
        dict.fromkeys(("layer", "loss", "remarks"), "text")
        | dict.fromkeys(("dim", "points"), "whole")
        | dict.fromkeys(("depth", "accuracy", "volatility", "relative", "ball_score"), "number")
        | dict.fromkeys(("standard_error", "relative_error"), "number"),
    ),
    "knowledge certificate": Format(
        "table",
        dict.fromkeys(("layer", "bound", "claim"), "text")
        | dict.fromkeys(("delta", "delta_over_mean", "eta", "alpha"), "number")
        | dict.fromkeys(("joint_bound", "conditional_bound", "direct_upper"), "number")
        | {"points": "whole", "pairs": "whole", "sound": "truth"},
    ),
    "corruptions table": Format(
        "table",
        dict.fromkeys(
            ("method", "noise", "noise_kind", "certificate", "entry", "corruption", "norm", "severities"), "text"
        )
        | dict.fromkeys(("preset_radii", "judged", "published_source", "comparison", "tables", "digests"), "text")
        | {"severity": "whole", "n_images": "whole", "sigma": "number", "acr": "number"},
    ),
    "estimate": Format(
        "table",
        dict.fromkeys(("method", "noise", "norm", "images", "seeds", "counts", "digests"), "text")
        | {"n_images": "whole", "n": "whole", "sigma": "number", "alpha": "number", "draws": "number"},
    ),
    "figure": Format("pictures"),
}
"""Name of a format, as records state it → what it is."""

Typed = tuple[str, tuple[int, ...]]
"""numpy's kind of an array's dtype, and its shape."""


def texts_of(name: str) -> list[str]:
    """The columns of a table of this format that hold text, even where all of it looks like numbers or is empty."""
    columns = {**FORMATS[name].needed, **FORMATS[name].optional} if name in FORMATS else {}
    return [column for column, layout in columns.items() if layout == "text"]


def require_container(name: str, container: Container) -> None:
    """ValueError where no files of this format are packed like that: a writer's mistake."""
    if name not in FORMATS or FORMATS[name].container != container:
        raise ValueError(
            f"{name!r} is not a format that is stored as {container}; state it in lib/certflow/files/formats.py"
        )


def require_layout(name: str, found: Mapping[str, Typed]) -> None:
    """ValueError unless arrays or columns are as the format `name` says; names the first that is not."""
    wanted = FORMATS[name]
    missing = [key for key in wanted.needed if key not in found]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    sizes: dict[str, int] = {}
    for key, layout in {**wanted.needed, **wanted.optional}.items():
        if key in found:
            _require(key, layout.split(), *found[key], sizes)
    rows = sizes.get("images")
    for key in found.keys() - wanted.needed.keys() - wanted.optional.keys():
        if rows is not None and found[key][1][:1] != (rows,):
            raise ValueError(f"{key} is {list(found[key][1])}, but there are {rows} images")


def _require(key: str, layout: Sequence[str], kind: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """`sizes` holds the dimensions known so far, and learns those of this array."""
    word, *dimensions = layout
    if kind not in KINDS[word]:
        raise ValueError(f"{key} is of type {kind!r}, not {word}")
    if dimensions and len(shape) != len(dimensions) or not dimensions and len(shape) > 1:
        raise ValueError(f"{key} is {list(shape)}, not [{', '.join(dimensions)}]")
    for dimension, size in zip(dimensions, shape, strict=False):
        if sizes.setdefault(dimension, size) != size:
            raise ValueError(f"{key} is {list(shape)}, but there are {sizes[dimension]} {dimension}")
