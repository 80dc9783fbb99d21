"""Training of base classifiers under noise: one loop (`train`), and one small file per method in `kinds`."""

from certflow.kinds.exports import exports

_HOMES = {
    "Batch": "batch",
    "TrainingResult": "loop",
    "seed_everything": "seeding",
    "train": "loop",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
