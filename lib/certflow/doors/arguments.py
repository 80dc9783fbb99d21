"""The arguments about models, images, noise and output that sub-commands share."""

import argparse
from typing import Any

from certflow.doors.written import LARGEST_SIZE, sizes, whole
from certflow.machine.naming import DEVICES
from certflow.stats.limits import USUAL_ALPHA

NORM = "of the radius (l2, or the first that is known under the noise)"
"""What --norm is."""


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is run."""
    own = parser.add_argument_group("model (one of the first three)")
    which = own.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model",
        metavar="FILE",
        help="a model of the pipeline, weights made elsewhere (--arch, --kind), or a folder as transformers writes it",
    )
    which.add_argument("--onnx", metavar="FILE", help="an ONNX file; needs the package onnxruntime")
    which.add_argument(
        "--python", metavar="MODULE:FUNCTION", help="your own function that returns the model; it is run"
    )
    own.add_argument("--arch", metavar="NAME", help="architecture of weights, such as cifar_resnet110 or timm:resnet18")
    own.add_argument("--kind", metavar="KIND", help="instead of --arch: a kind of model, see `certflow models`")
    own.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of --kind, such as depth=40, of a folder, resize=224",
    )
    own.add_argument("--classes", type=_classes, help="number of classes, where the file does not say")
    add_weights(own)
    own.add_argument(
        "--denoiser",
        metavar="KIND:FILE",
        help="a denoiser before the model: as JSON, or a model file of the pipeline that has one",
    )
    own.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        help="of the network; it is part of what is certified (float32, or the model's own)",
    )
    own.add_argument("--compile", action="store_true", help="compile the network, for long jobs")
    own.add_argument(
        "--native", action="store_true", help="convolutions by C code in half the time on a CPU, rounded otherwise"
    )
    own.add_argument("--device", default="auto", help=DEVICES)
    own.add_argument("--batch", type=int, metavar="ROWS", help="noisy images at a time, where memory is short")


def add_weights(own: argparse._ActionsContainer) -> None:
    """How the weights of a file made elsewhere are read."""
    own.add_argument("--mean", type=float, nargs="+", help="normalisation in [0,1] pixels, where the file stores none")
    own.add_argument("--sd", type=float, nargs="+", help="standard deviations to --mean; without them it only centres")
    own.add_argument("--weights", default="auto", help="auto, raw, ema, or the place of one set of the file")
    own.add_argument(
        "--leave-out", nargs="+", default=[], metavar="PATTERN", help="names in the file that are not the classifier's"
    )


def weights_options(given: argparse.Namespace) -> dict[str, Any]:
    """What the arguments of `add_weights` say, as `certflow.models.published.load_checkpoint` takes it."""
    return {name: getattr(given, name) for name in ("mean", "sd", "weights", "leave_out")}


def add_images(parser: argparse.ArgumentParser) -> None:
    """Which images, and their classes."""
    own = parser.add_argument_group("images")
    own.add_argument(
        "--images",
        required=True,
        metavar="WHAT",
        help="a folder, FILE.npy, or KIND:SPLIT such as mnist:test; with [0:100] or ::20 behind, some of them; `test` alone is "
        "that of the model's own data",
    )
    own.add_argument("--labels", metavar="FILE", help="true classes: a CSV file (idx,label or file,label) or FILE.npy")
    own.add_argument("--root", metavar="FOLDER", help="where the files of KIND lie")
    own.add_argument("--resize", choices=["none", "exact", "shorter_side_crop"], default="none", help="of image files")
    own.add_argument("--colour", choices=["strict", "convert"], default="strict", help="of image files")
    own.add_argument(
        "--shape", type=_shape, metavar="C,H,W", help="of the images that the model takes, where it is not known"
    )


def add_noise(parser: argparse.ArgumentParser) -> None:
    """Which noise, drawn how."""
    own = parser.add_argument_group("noise")
    own.add_argument(
        "--noise", metavar="KIND:SIGMA", help="such as gaussian:0.25, or JSON; default: what it was trained under"
    )
    own.add_argument("--seed", type=int, default=0, help="of the noise (0); the same seed gives the same counts")
    own.add_argument("--alpha", type=float, help=f"probability of error allowed per image ({USUAL_ALPHA:g})")
    own.add_argument(
        "--arithmetic", choices=["float", "exact"], help="exact: noise in whole grey levels, for 8-bit images (float)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where the answer goes."""
    own = parser.add_argument_group("output")
    own.add_argument(
        "--out", metavar="FILE.tsv", help="write the table there; a killed run goes on with the same counts"
    )
    own.add_argument("--json", action="store_true", help="a JSON document with the record on standard output")
    own.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _classes(text: str) -> int:
    found = whole(text, 2, LARGEST_SIZE)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number of classes, from 2 to {LARGEST_SIZE:,}")
    return found


def _shape(text: str) -> tuple[int, ...]:
    found = sizes([part.strip() for part in text.split(",")], 3)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not channels,height,width such as 3,32,32")
    return found
