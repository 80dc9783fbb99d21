"""Seeds of everything that is not drawn by counters: the initial weights, and dropout inside a network."""

import hashlib
import random

import numpy as np
import torch

from certflow.kinds.seeds import TRAININGS


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch, and choose deterministic convolutions; call it before a network is built.

    `seed` lies in [0, 2**32): of larger ones torch on a CPU takes the lower 32 bits. `cudnn.benchmark` is off because it picks
    algorithms by timing them, which makes two runs of the same job differ.
    """
    if not 0 <= seed < TRAININGS:
        raise ValueError(f"seed must be at least 0 and below 2**32, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def seed_batch(seed: int, epoch: int, batch: int) -> None:
    """Seed torch's own generators from (seed, epoch, batch number).

    Dropout and the like draw from these. Seeding every loader batch makes their draws independent of where a run was
    interrupted, with no generator state to be stored.
    """
    text = f"certflow training {seed} {epoch} {batch}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
