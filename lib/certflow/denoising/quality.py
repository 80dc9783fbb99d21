"""What a denoiser does to test images: how far it is from the clean image, and what the classifier makes of it."""

import math
from typing import Any

import numpy as np
import torch

from certflow.data.augmentation import to_unit
from certflow.data.base import Split
from certflow.denoising.composed import DenoiseThenClassify
from certflow.noise.base import Key, NoiseSpec
from certflow.noise.streams import Stream

IMAGES = 512
BATCH = 64


@torch.inference_mode()
def measure(network: DenoiseThenClassify, test: Split, noise: NoiseSpec, *, seed: int, device: Any) -> dict[str, Any]:
    """Mean squared error and PSNR (dB, peak 1) of denoised images, and accuracies, on images spread over the test split.

    `accuracy` is that of noisy images, one draw each, `accuracy_without` that of the same images without the denoiser, and
    `accuracy_clean` that of clean images without it. The network is in eval mode on `device`.
    """
    count = min(len(test), IMAGES)
    index = np.arange(count, dtype=np.int64) * len(test) // count
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    for rows in np.array_split(index, -(-count // BATCH)):
        x = to_unit(torch.as_tensor(test.read(rows), device=device))
        y = torch.as_tensor(np.asarray(test.labels)[rows], device=device)
        at = torch.as_tensor(rows, device=device)
        noisy = noise.copies(x, Key.of(at, 0, seed=seed, stream=Stream.TRAIN_EVALUATION))
        denoised = network.denoiser(noisy)
        right = [(network.classify(image).argmax(1) == y).sum() for image in (denoised, noisy, x)]
        sums += torch.stack(
            [(denoised - x).double().square().flatten(1).mean(1).sum(), *(hit.double() for hit in right)]
        )
    mse, *accuracies = (sums / count).tolist()
    names = ("accuracy", "accuracy_without", "accuracy_clean")
    psnr = -10 * math.log10(mse) if mse > 0 else None
    return {"images": count, "mse": mse, "psnr": psnr, **dict(zip(names, accuracies, strict=True))}
