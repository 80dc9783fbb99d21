"""What the preview of a table costs: `python benchmarks/preview_cost.py [--images 400 --case lenet]`.

The same network in one run: the sampler `pilot` on our engine with the estimate made of its counts, and the field's loop with
its 100 and 100,000 draws per image, at the rate of the draws that it makes of the first one. Printed: CPU seconds of both (on a
GPU: seconds) and their ratio, which is that of the draws times that of the speeds. In float32; on a CPU ours has native
convolutions (`inference: {native: true}`). By default the embedded digits; the network is trained on the spot, unless a
model file of the pipeline is given.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import default_device, fastest, like_ours, machine
from benchmarks.table_cost import CASES, field_seconds, seconds_of, stored, trained
from certflow.certify.previewing import previewed
from certflow.noise import Gaussian
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.kinds.pilot import Pilot

RADII = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="test images, evenly spread")
    parser.add_argument("--draws", type=int, default=100_000, help="N of the table that is estimated")
    parser.add_argument("--field-draws", type=int, default=20_000, help="draws that the field's loop is timed on")
    parser.add_argument("--case", choices=CASES, default="digits", help="what is trained where no model is given")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--model", type=Path, help="a model.safetensors of the pipeline, trained at this sigma")
    parser.add_argument("--manifest", type=Path, help="results/data/<dataset>.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(default_device())
    case = replace(CASES[options.case], sigma=options.sigma)
    subject = stored(options.model, options.manifest) if options.model else trained(options.case, case, device)
    network, split, info = subject.network.eval(), subject.split, subject.info
    index = np.unique(np.linspace(0, len(split) - 1, options.images).round().astype(np.int64))
    images, labels, noise = split.read(index), split.labels[index].astype(np.int64), Gaussian(sigma=options.sigma)
    base = BaseClassifier(network, fastest("float32", device), shape=info.shape, classes=info.classes, device=device)
    pilot = Pilot()

    def preview():
        found, _ = previewed(base, torch.from_numpy(images), noise, pilot, labels, n=options.draws, index=index)
        return found.draws.mean(), found.accuracy(RADII)

    like_ours()
    preview()  # first call: kernels are chosen, memory is taken
    (draws, estimate), seconds = seconds_of(preview)
    rate = field_seconds(subject, images[0], options.field_draws, options.sigma, device)
    theirs = len(index) * (100 + options.draws) * rate
    ratio, fewer = theirs / seconds, (options.draws + 100) / draws
    print(
        f"{machine(device)}\n{len(index)} images, sigma {options.sigma:g}: the preview takes {ratio:,.0f} times less time"
    )
    print(f"  field's loop, N = {options.draws:,}: {theirs:,.0f} s at the rate of {options.field_draws:,} draws")
    print(f"  preview: {seconds:.2f} s, {draws:.0f} draws an image ({fewer:,.0f} times fewer)")
    print(f"  each draw of ours is {ratio / fewer:.1f} times faster, the estimate included")
    for radius, *ends in zip(RADII, estimate.value, estimate.low, estimate.high, strict=True):
        print(f"  estimated, not certified, at {radius:4.2f}: {ends[0]:.3f} ({ends[1]:.3f} to {ends[2]:.3f})")


if __name__ == "__main__":
    main()
