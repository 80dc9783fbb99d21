"""Certifying through `certflow.doors.art` against the Adversarial Robustness Toolbox itself, the same call on the same model.

Needs the package adversarial-robustness-toolbox, which is not among the pinned ones; says so where it is missing.
"""

import time

import numpy as np
import torch

from benchmarks.field import CIFAR, MNIST, network
from certflow.doors.art import PyTorchRandomizedSmoothing

NETWORKS = {
    "LeNet, 1x28x28": ({"kind": "lenet"}, MNIST, 20_000),
    "ResNet-20, 3x32x32": ({"kind": "cifar_resnet", "depth": 20}, CIFAR, 2000),
}
BATCHES = (32, 256)
"""ART's default, and one that suits its loop better."""
ROUNDS = 2


def seconds(smoothed, x: np.ndarray, n: int, batch: int) -> float:
    """The shortest time of one image, of `ROUNDS`; processor time, as both use one thread and no other process."""
    spent = []
    for _ in range(ROUNDS):
        start = time.process_time()
        smoothed.certify(x, n=n, batch_size=batch)
        spent.append(time.process_time() - start)
    return min(spent) / len(x)


def main() -> None:
    try:
        from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing as Toolbox
    except ImportError as error:
        print(f"adversarial-robustness-toolbox is not installed ({error}); nothing to compare with")
        return
    torch.set_num_threads(1)
    print(f"| network | n | ART, batch {BATCHES[0]} | ART, batch {BATCHES[1]} | certflow | ratio to the better |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (model, info, n) in NETWORKS.items():
        given = {"model": network(model, info).eval(), "loss": None, "input_shape": info.shape, "nb_classes": 10}
        given |= {"sample_size": 100, "scale": 0.25, "device_type": "cpu"}
        x = np.random.default_rng(0).random((1, *info.shape), dtype=np.float32)
        theirs = [seconds(Toolbox(**given), x, n, batch) for batch in BATCHES]
        ours = seconds(PyTorchRandomizedSmoothing(**given), x, n, BATCHES[0])
        shown = " | ".join(f"{value:.2f} s" for value in (*theirs, ours))
        print(f"| {name} | {n:,} | {shown} | {min(theirs) / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
