"""Examine a weight file: what it holds and, with --arch and --dataset, how its model does on a few test images.

Nothing in the file is run. Exit status 3: something looks wrong with the way the model would be used.
"""

import argparse
import json
from typing import TYPE_CHECKING

from certflow.doors.arguments import add_weights, weights_options
from certflow.doors.entries import entry
from certflow.errors import DataError
from certflow.files.printable import printable
from certflow.machine.standard import answer

if TYPE_CHECKING:
    from certflow.models.examination import Examination

HELP = "what a weight file holds, and how its model does on a few test images"
WRONG = 3


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("checkpoint", help="the weight file")
    parser.add_argument("--arch", metavar="NAME", help="cifar_resnet110, timm:resnet18, ... or a model entry as JSON")
    parser.add_argument("--dataset", metavar="KIND", help="cifar10, ... or a dataset entry as JSON")
    parser.add_argument("--root", metavar="FOLDER", help="folder of the dataset")
    parser.add_argument("--sigma", type=float, default=0.25, help="level of Gaussian noise, for pixels in [0,1] (0.25)")
    add_weights(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (0)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(given: argparse.Namespace) -> int:
    """Print the doctor's page, or the notes as JSON. 0: nothing looks wrong; 3: something does."""
    if (given.arch is None) != (given.dataset is None) or (given.json and given.arch is None):
        raise DataError(
            "--arch, --dataset: to examine a model give both; to have its file described, leave out both and --json"
        )
    if given.arch is None:
        print(describe(given.checkpoint))
        return 0
    found = _examined(given)
    answer(f"{json.dumps(found.notes(), indent=1) if given.json else found.page()}\n")
    return WRONG if found.warnings else 0


def describe(path: str) -> str:
    """What a weight file holds, without knowing the network: one line for each mapping of tensors."""
    from certflow.models.reading import weight_file

    with weight_file(path) as file:
        lines = [f"Model    {path}", f"File     {file.what}; nothing in it was run"]
        for mapped in file.mappings[:20]:
            names = list(mapped.tensors)
            lines.append(f"Tensors  {mapped.place or 'top'}: {len(names)} ({', '.join(names[:3])}, ...)")
        return "\n".join(map(printable, [*lines, *([f"Beside   {', '.join(file.beside)}"] if file.beside else [])]))


def _examined(given: argparse.Namespace) -> "Examination":
    from certflow.data.base import DatasetSpec
    from certflow.data.source import data_root
    from certflow.models.base import ModelSpec
    from certflow.models.examination import examine
    from certflow.models.published import named
    from certflow.noise.base import NoiseSpec

    dataset = entry(DatasetSpec, given.dataset, root=given.root)
    spec = entry(ModelSpec, given.arch) if given.arch.startswith("{") else named(given.arch)
    noise = entry(NoiseSpec, "gaussian", sigma=given.sigma)
    test = dataset.read("test", data_root(dataset))
    return examine(given.checkpoint, weights_options(given), spec, dataset.info(), test, noise, given.seed)[1]
