"""What a GPU is asked, the most valuable first: each a command of its own with a time limit of its own."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = "results/certificates/mnist/lenet/{}/gauss-{}/seed0/every20/cohen/np.tsv"
MNIST = (TABLE.format("gaussian", "0.25"),)
"""Of the configuration as it is: the papers' schedule and their 100,000 draws on the field's 500 images."""
ATTACKS = tuple(
    TABLE.format(method, sigma) for sigma in ("0.50", "0.25") for method in ("smoothmix", "macer", "smoothadv")
)
"""The same by methods that take a day on a CPU, the quickest first."""
NETWORKS = {
    "cifar_resnet110": 90, "lenet": 40, "imagenet_resnet50": 60, "cifar_wrn40_2": 90,
}  # fmt: skip
"""Network of the sampling ladder → seconds that it may take."""

SLOWER = 5
"""A CPU that is tried at toy sizes may be busy."""


@dataclass(frozen=True)
class Step:
    """A command, run in the project's folder. `{json}` in it is the file that it writes its numbers to."""

    name: str
    command: tuple[str, ...]
    seconds: float
    """After which it is ended."""
    environment: Mapping[str, str] = field(default_factory=dict)


def steps(device: str) -> list[Step]:
    """All steps on `cuda`, or the same at toy sizes on `cpu`."""
    toy = device == "cpu"
    found = [
        Step("test-gpu", _python("-m", "pytest", "-q", "-m", "gpu", "-rs", *_gpu_tests()), 150, {"TEST_GPU": "yes"}),
        *(_sampling(name, device, seconds) for name, seconds in NETWORKS.items()),
        _splitting(device),
        _training("networks", device, ("--methods",), ("--cases", "lenet", "--methods")),
        _table_cost(device),
        _training("methods", device, ("--cases",), ("--cases", "--methods", "gaussian")),
        *(_sampling(name, device, 90, compiled=True) for name in ("cifar_resnet110", "lenet") if not toy),
        *(_sampling(name, device, 40, graphs=False) for name in ("lenet", "cifar_resnet110")),
        Step("mnist", _snakemake(*_if(toy, "-n"), "--", *MNIST), 540),
        Step("mnist-attacks", _snakemake(*_if(toy, "-n"), "--", *ATTACKS), 540),
    ]
    return [replace(step, seconds=SLOWER * step.seconds) for step in found] if toy else found


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def _snakemake(*arguments: str) -> tuple[str, ...]:
    """One job on the GPU at a time: several would share it, and none be done in time."""
    how = ("--nolock", "--rerun-incomplete", "--cores", "all", "--resources", "gpu=1")
    return _python("-m", "snakemake", *how, *arguments)


def _if(condition: bool, *arguments: str) -> tuple[str, ...]:
    return arguments if condition else ()


def _splitting(device: str) -> Step:
    """All outcomes of splitting noise."""
    size = ("--images", "1", "--rounds", "1") if device == "cpu" else ("--images", "310")
    return Step("splitting", _benchmark("splitting", device, *size), 90)


def _table_cost(device: str) -> Step:
    """A table of LeNet and of ResNet-8 where `CERTFLOW_DATA` has their images, else of the embedded digits."""
    toy = _if(device == "cpu", "--cases", "digits", "--images", "2", "--draws", "500", "--field-draws", "800")
    return Step("table-cost", _benchmark("table_cost", device, *toy), 120)


def _benchmark(name: str, device: str, *arguments: str) -> tuple[str, ...]:
    return _python(f"benchmarks/{name}.py", "--device", device, "--json", "{json}", *arguments)


def _sampling(network: str, device: str, seconds: float, *, compiled: bool = False, graphs: bool = True) -> Step:
    """A network in every precision that the device has units for, in turns with the field's loop."""
    name = f"sampling-{network}" + "-compiled" * compiled + "-without-graphs" * (not graphs)
    toy = _if(device == "cpu", "--draws", "4", "--batches", "4", "--rounds", "1", "--precisions", "float32")
    command = _benchmark("sampling", device, "--cases", network, "--compile", "yes" if compiled else "no", *toy)
    return Step(name, command, seconds, {} if graphs else {"CERTFLOW_GRAPHS": "0"})


def _training(name: str, device: str, whole: tuple[str, ...], toy: tuple[str, ...]) -> Step:
    chosen = (*toy, "--batch", "16", "--rounds", "1", "--precisions", "float32") if device == "cpu" else whole
    return Step(f"training-{name}", _benchmark("training", device, *chosen), 100)


def _gpu_tests() -> list[str]:
    """Files with a test of that mark: to import the others takes longer than the tests."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if "mark.gpu" in path.read_text(encoding="utf-8")]
