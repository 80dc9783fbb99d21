"""Losses as functions of logits, against golden values and direct sums."""

import numpy as np
import pytest
import torch

from lib.training.losses import accuracy, cross_entropy

M = np.arange(4)[:, None, None]
LOGITS = torch.tensor(3 * np.sin(1 + 3 * M + 5 * np.arange(3)[:, None] + 7 * np.arange(3)))
LABELS = torch.tensor([0, 1, 2])


def test_cross_entropy_has_the_golden_mean():
    assert cross_entropy(LOGITS, LABELS).mean().item() == pytest.approx(1.468190300000, abs=1e-12)


def test_cross_entropy_pairs_every_noise_with_the_label_of_its_image():
    z = LOGITS.numpy()
    direct = [
        [-np.log(np.exp(z[m, b, LABELS[b]]) / np.exp(z[m, b]).sum()) for b in range(z.shape[1])] for m in range(len(z))
    ]
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS).numpy(), direct, rtol=1e-12)


def test_accuracy_counts_every_noisy_copy():
    logits = torch.zeros(2, 3, 4)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 2, 3] = 1  # all right
    logits[1, 0, 1] = logits[1, 1, 0] = logits[1, 2, 0] = 1  # one of three right
    assert accuracy(logits, torch.tensor([1, 2, 3])).item() == pytest.approx(4 / 6)
