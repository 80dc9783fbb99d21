"""What the benchmarks share: the networks and loops of the field's scripts, and how times are taken.

The field's scripts are those that descend from Cohen et al. (2019): float32 in NCHW, normalisation by repeated tensors,
batch normalisation as a layer.
"""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from certflow.data.base import DataInfo
from certflow.data.splits import ArraySplit
from certflow.kinds.registry import spec_class
from certflow.machine.memory import keep_freed_memory, restore_default
from certflow.models import build
from certflow.models.base import Inference, Precision
from certflow.models.fast import winograd
from certflow.sampling.precision import bfloat16_is_native
from certflow.sampling.settings import exact_arithmetic

SIGMA = 0.25
PRECISIONS = "default: those with units on the device"
MNIST = DataInfo(classes=10, shape=(1, 28, 28))
IMAGENET = DataInfo(1000, (3, 224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = DataInfo(10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "crop_flip")


class FieldNormalise(torch.nn.Module):
    """(x − mean) / sd with both repeated to the size of the batch."""

    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, info: DataInfo):
        super().__init__()
        self.register_buffer("mean", torch.tensor(info.mean))
        self.register_buffer("sd", torch.tensor(info.sd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, _, height, width = x.shape
        mean = self.mean.repeat((rows, height, width, 1)).permute(0, 3, 1, 2)
        sd = self.sd.repeat((rows, height, width, 1)).permute(0, 3, 1, 2)
        return (x - mean) / sd


class FieldLeNet(torch.nn.Module):
    """The 20-50-500 LeNet with the layers of ours, and ReLU before the pooling."""

    def __init__(self, ours: torch.nn.Module):
        super().__init__()
        layers = (ours.get_submodule(name) for name in ("conv1", "conv2", "fc1", "fc2"))
        self.conv1, self.conv2, self.fc1, self.fc2 = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def random_split(info: DataInfo, images: int) -> ArraySplit:
    """Random images in memory."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, *info.shape), dtype=np.uint8)
    return ArraySplit(pixels, rng.integers(0, info.classes, images), "random")


class FieldDataset(torch.utils.data.Dataset):
    """A split as torchvision's datasets give it, image by image through PIL, behind the field's usual training transform."""

    def __init__(self, split: ArraySplit, info: DataInfo):
        from torchvision import transforms

        crop_flip = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        chosen = crop_flip if info.augmentation == "crop_flip" else []
        self.transform, self.labels = transforms.Compose([*chosen, transforms.ToTensor()]), split.labels.tolist()
        grey = info.shape[0] == 1
        self.images = split.images[:, 0] if grey else np.ascontiguousarray(split.images.transpose(0, 2, 3, 1))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def network(model: dict, info: DataInfo) -> torch.nn.Sequential:
    """Our network of a model entry."""
    return build(spec_class("model", model["kind"])(**model), info)


def field_network(model: dict, info: DataInfo, ours: torch.nn.Sequential | None = None) -> torch.nn.Module:
    """The field's network, with the weights of ours if that is given."""
    ours = network(model, info) if ours is None else ours
    return FieldLeNet(ours[1]) if model["kind"] == "lenet" else torch.nn.Sequential(FieldNormalise(info), ours[1])


def fastest(precision: Precision, device: torch.device) -> Inference:
    """Ours in a precision as whoever wants speed states it: convolutions by C code of ours on a CPU."""
    fits = device.type == "cpu" and precision != "float16" and winograd.kernel() is not None
    return Inference(precision=precision, native=fits)


def native_precisions(device: torch.device) -> list[Precision]:
    """The precisions that are worth measuring on a device."""
    return ["float32", "bfloat16"] if bfloat16_is_native(device) else ["float32"]


def ways(precisions: Iterable[Precision], device: torch.device, compiled: Iterable[bool] = (False,)) -> list[Inference]:
    """Ours as it is in each precision, and then the `fastest` where that is another one."""
    plain = [Inference(precision=precision, compile=c) for precision in precisions for c in compiled]
    more = [fastest(one.precision, device) for one in plain if not one.compile]
    return list(dict.fromkeys([*plain, *more]))


def called(inference: Inference) -> str:
    """A way in a row's words."""
    return inference.precision + (" native" if inference.native else "")


def default_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def like_the_field() -> None:
    """What a process of theirs has by itself: the C library's allocator, TF32 in convolutions, algorithms that need not be
    deterministic."""
    restore_default()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True
    cudnn: Any = torch.backends.cudnn
    for operation in (cudnn.conv, cudnn.rnn):
        operation.fp32_precision = "tf32"
    torch.backends.cudnn.deterministic = False


def like_ours() -> None:
    """What the engine sets."""
    keep_freed_memory()
    exact_arithmetic()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds (on a GPU: seconds) of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """CPU seconds (on a GPU: seconds) that each call takes in each round, after a first round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work, device)
            times[name] += [spent] if number else []
    return times


def table(columns: Mapping[str, tuple[str, str]], rows: Iterable[dict]) -> str:
    """The rows as Markdown. columns: key → heading and format."""
    lines = [[heading for heading, _ in columns.values()], ["---"] * len(columns)]
    lines += [[form.format(row[key]) for key, (_, form) in columns.items()] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def machine(device: torch.device) -> dict[str, str]:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return {"device": name, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
