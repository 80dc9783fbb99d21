"""Speed of a training step against the field's: `python benchmarks/training.py [--json FILE]`, under a minute.

The field's step is that of the scripts that descend from Cohen et al. (2019): float32 in NCHW, images through PIL one by one
(`DataLoader` without workers), normalisation by repeated tensors, noise from the stateful generator, three `.item()` per
step. Ours is what `lib.training.loop` runs. Both train the same architecture on the same random images, in turns, on one
thread; CPU seconds are compared (seconds on a GPU), data loading included.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F

from lib.data.base import DataInfo
from lib.data.batches import batches
from lib.models import build
from lib.noise import Gaussian as GaussianNoise
from lib.registry import spec_class
from lib.training.kinds.gaussian import Gaussian
from lib.training.meter import Meter
from lib.training.stepper import Stepper

SIGMA = 0.25


@dataclass(frozen=True)
class Case:
    """An architecture, the data it takes, and how many steps make one measurement."""

    model: dict
    info: DataInfo
    batch: int
    steps: int


MNIST = DataInfo(classes=10, shape=(1, 28, 28))
CIFAR = DataInfo(10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "crop_flip")
CASES = {
    "lenet": Case({"kind": "lenet"}, MNIST, batch=256, steps=4),
    "cifar_resnet20": Case({"kind": "cifar_resnet", "depth": 20}, CIFAR, batch=128, steps=1),
}


class RandomSplit:
    """Random images in memory: uint8 [n, channels, height, width]."""

    def __init__(self, info: DataInfo, images: int):
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (images, *info.shape), dtype=np.uint8)
        self.labels = rng.integers(0, info.classes, images)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]

    def describe(self, index: int) -> str:
        return f"random image {index}"


class FieldNormalise(torch.nn.Module):
    """(x − mean) / sd with both repeated to the size of the batch."""

    def __init__(self, info: DataInfo):
        super().__init__()
        self.mean, self.sd = torch.tensor(info.mean), torch.tensor(info.sd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, _, height, width = x.shape
        mean = self.mean.to(x.device).repeat((rows, height, width, 1)).permute(0, 3, 1, 2)
        sd = self.sd.to(x.device).repeat((rows, height, width, 1)).permute(0, 3, 1, 2)
        return (x - mean) / sd


class FieldLeNet(torch.nn.Module):
    """The 20-50-500 LeNet, with ReLU before the pooling."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 20, 5), torch.nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = torch.nn.Linear(800, 500), torch.nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def network(case: Case) -> torch.nn.Module:
    return build(spec_class("model", case.model["kind"])(**case.model), case.info)


def field_network(case: Case) -> torch.nn.Module:
    if case.model["kind"] == "lenet":
        return FieldLeNet()
    return torch.nn.Sequential(FieldNormalise(case.info), network(case)[1])


def field_loader(case: Case, split: RandomSplit) -> torch.utils.data.DataLoader:
    from PIL import Image
    from torchvision import transforms

    crop_flip = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose(
        [*(crop_flip if case.info.augmentation == "crop_flip" else []), transforms.ToTensor()]
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(split)

        def __getitem__(self, index):
            pixels = split.pixels[index]
            image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
            return transform(image), int(split.labels[index])

    return torch.utils.data.DataLoader(Pictures(), batch_size=case.batch, shuffle=True, drop_last=True)


def field_steps(case: Case, split: RandomSplit, device: torch.device) -> Iterator[None]:
    """One training step of the field per item, for ever."""
    model = field_network(case).to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader, logged = field_loader(case, split), []
    while True:
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            logits = model(x + torch.randn_like(x) * SIGMA)
            loss = F.cross_entropy(logits, y)
            right = logits.topk(5, 1).indices.eq(y[:, None])
            logged += [loss.item(), right[:, 0].float().sum().item(), right.float().sum().item()]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield


def our_steps(case: Case, split: RandomSplit, device: torch.device, precision: str) -> Iterator[None]:
    """One training step of ours per item, for ever."""
    method = Gaussian(batch=case.batch, lr=0.01, precision=precision)
    loader = batches(split, device=device, batch=case.batch, seed=0, augmentation=case.info.augmentation)
    model = network(case).to(device).train()
    stepper, meter = Stepper(method, model, noise=GaussianNoise(sigma=SIGMA), seed=0, batches=len(loader)), Meter()
    epoch = 0
    while True:
        for number, batch in enumerate(loader.epoch(epoch)):
            stepper.advance(batch, epoch, number, meter)
            if len(meter) >= 50:
                meter.read(f"epoch {epoch}")
            yield
        epoch += 1


def seconds(steps: Iterator[None], count: int, device: torch.device) -> float:
    """CPU seconds (on a GPU: seconds) that `count` steps take, per step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    for _ in range(count):
        next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / count


def measure(name: str, rounds: int, device: torch.device, precisions: list[str]) -> dict:
    """Both variants in turns; ratio of the field's time to ours, by the fastest round and by the median."""
    case = CASES[name]
    split = RandomSplit(case.info, 16 * case.batch)
    torch.manual_seed(0)
    runs = {"field": field_steps(case, split, device)}
    runs |= {precision: our_steps(case, split, device, precision) for precision in precisions}
    times = {variant: [] for variant in runs}
    for steps in runs.values():
        seconds(steps, 1, device)  # first step: kernels are chosen, memory is taken
    for _ in range(rounds):
        for variant, steps in runs.items():
            times[variant].append(seconds(steps, case.steps, device))
    result = {"field_images_per_second": case.batch / min(times["field"])}
    for precision in precisions:
        result[precision] = {
            "images_per_second": case.batch / min(times[precision]),
            "ratio_min": min(times["field"]) / min(times[precision]),
            "ratio_median": statistics.median(
                theirs / ours for theirs, ours in zip(times["field"], times[precision], strict=True)
            ),
        }
    return result


def machine(device: torch.device) -> dict[str, str]:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return {"device": name, "torch": torch.__version__, "threads": str(torch.get_num_threads())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], default=["float32"])
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    report = {"machine": machine(device), "cases": {}}
    for name in options.cases:
        found = measure(name, options.rounds, device, options.precisions)
        report["cases"][name] = found
        print(f"{name}: field {found['field_images_per_second']:.0f} images/s")
        for precision in options.precisions:
            ours = found[precision]
            print(
                f"  {precision}: {ours['images_per_second']:.0f} images/s, "
                f"{ours['ratio_min']:.2f} times the field (median of rounds {ours['ratio_median']:.2f})"
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
