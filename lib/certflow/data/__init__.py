"""Datasets: `prepare` and `open_split` by manifest, `Images` chooses among a split's images. Importing this loads no torch.

Training batches: `certflow.data.batches.batches`.
"""

from certflow.kinds.exports import exports

_HOMES = {
    "Images": "subset",
    "content_digest": "store",
    "open_split": "store",
    "prepare": "store",
    "to_unit": "augmentation",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
