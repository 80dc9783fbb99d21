"""`python -m certflow.models.doctor CHECKPOINT`: what a weight file is, and how its model does on a few test images."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from certflow.errors import CertflowError
from certflow.models.reading import weight_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the doctor's page, or the notes as JSON. 0: nothing looks wrong; 1: something does; 2: that is not known."""
    given = _parser().parse_args(arguments)
    try:
        if given.model is None or given.dataset is None:
            print(describe(given.checkpoint))
            return 0
        found = _examined(given)
    except (CertflowError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.notes(), indent=1) if given.json else found.page())
    return 1 if found.warnings else 0


def describe(path: str) -> str:
    """What a weight file holds, without knowing the network: one line for each mapping of tensors."""
    with weight_file(path) as file:
        lines = [f"Model    {path}", f"File     {file.what}; nothing in it was run"]
        for mapped in file.mappings[:20]:
            names = list(mapped.tensors)
            lines.append(f"Tensors  {mapped.place or 'top'}: {len(names)} ({', '.join(names[:3])}, ...)")
        return "\n".join([*lines, *([f"Beside   {', '.join(file.beside)}"] if file.beside else [])])


def _examined(given: argparse.Namespace) -> Any:
    from certflow.data.source import data_root
    from certflow.models.examination import examine
    from certflow.models.published import named

    dataset = _entry("dataset", given.dataset, given.root)
    spec = _entry("model", given.model, None) if given.model.startswith("{") else named(given.model)
    noise = _entry("noise", json.dumps({"kind": "gaussian", "sigma": given.sigma}), None)
    options = {"mean": given.mean, "sd": given.sd, "weights": given.weights, "leave_out": given.leave_out}
    test = dataset.read("test", data_root(dataset))
    return examine(given.checkpoint, options, spec, dataset.info(), test, noise, given.seed)[1]


def _entry(family: str, text: str, root: str | None) -> Any:
    """An entry of a configuration: JSON, or the name of a kind."""
    from certflow.config.validation import validated
    from certflow.kinds.registry import spec_class

    fields = json.loads(text) if text.startswith("{") else {"kind": text}
    if root is not None:
        fields["root"] = root
    return validated(spec_class(family, fields.get("kind", "")), fields)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m certflow.models.doctor", description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--model", help="cifar_resnet110, timm:resnet18, ... or a model entry as JSON")
    parser.add_argument("--dataset", help="cifar10, ... or a dataset entry as JSON")
    parser.add_argument("--root", help="folder of the dataset")
    parser.add_argument("--sigma", type=float, default=0.25, help="of Gaussian noise, in units of [0,1] pixels")
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--sd", type=float, nargs="+")
    parser.add_argument("--weights", default="auto", help="auto, raw, ema, or the place of one set")
    parser.add_argument("--leave-out", nargs="+", default=[], help="patterns of names that are not the classifier's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.exit(main())
