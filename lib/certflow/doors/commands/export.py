"""Write a model of the pipeline as a folder to give away: weights, card.json, README.md and, with --onnx, an ONNX file."""

import argparse

HELP = "a model of the pipeline as a folder to give away, with --onnx also for other programs"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--model", required=True, metavar="FILE", help="results/train/.../model.safetensors")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="a new or an empty folder")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs the package onnxscript)")


def run(given: argparse.Namespace) -> int:
    """Write the bundle and say what lies there."""
    from certflow.doors.bring import named_results
    from certflow.doors.bundle import write_bundle

    for path in write_bundle(named_results(given.model), given.out, onnx=given.onnx):
        print(path)
    return 0
