"""The arguments about models, images, noise and output that sub-commands share."""

import argparse
from typing import Any

from certflow.doors.written import LARGEST_SIZE, sizes, whole
from certflow.machine.naming import DEVICES
from certflow.stats.limits import USUAL_ALPHA

NORM = "norm of the radius (l2, or the first one with known radii under the noise)"
"""Help of --norm."""


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is run."""
    own = parser.add_argument_group("model (one of the first three)")
    which = own.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model",
        metavar="FILE",
        help="a model of the pipeline, other weights (with --arch or --kind), or a folder as transformers writes it",
    )
    which.add_argument("--onnx", metavar="FILE", help="an ONNX file (needs the package onnxruntime)")
    which.add_argument(
        "--python", metavar="MODULE:FUNCTION", help="your own function that returns the model (your code is run)"
    )
    own.add_argument(
        "--arch", metavar="NAME", help="architecture of the weights, such as cifar_resnet110 or timm:resnet18"
    )
    own.add_argument("--kind", metavar="KIND", help="instead of --arch: a kind of model (`certflow models` lists both)")
    own.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of --kind, such as depth=40, or of a folder, such as resize=224",
    )
    own.add_argument("--classes", type=_classes, help="number of classes, if the file does not say")
    add_weights(own)
    own.add_argument(
        "--denoiser",
        metavar="KIND:FILE",
        help="a denoiser to put before the model: kind and weights, an entry as JSON, or a pipeline's model that has one",
    )
    own.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        help="of the network, part of what is certified (default: the model's own, else float32)",
    )
    own.add_argument("--compile", action="store_true", help="compile the network; worth it for long jobs")
    own.add_argument(
        "--native", action="store_true", help="on a CPU, convolutions by C code: half the time, other rounding"
    )
    own.add_argument("--device", default="auto", help=f"{DEVICES} (auto)")
    own.add_argument("--batch", type=int, metavar="ROWS", help="noisy images at a time, if memory is short")


def add_weights(own: argparse._ActionsContainer) -> None:
    """How the weights of a file made elsewhere are read."""
    own.add_argument(
        "--mean",
        type=float,
        nargs="+",
        help="channel means of the normalisation, pixels in [0,1], if the file has none",
    )
    own.add_argument(
        "--sd", type=float, nargs="+", help="standard deviations for --mean; else the mean is only subtracted"
    )
    own.add_argument(
        "--weights", default="auto", help="which ones of the file: raw, ema, or the place of one set (auto)"
    )
    own.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="names in the file that do not belong to the classifier",
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
        help="a folder, FILE.npy, KIND:SPLIT such as mnist:test, or `test` of the model's own data; [0:100] or ::20 after it "
        "selects some of the images",
    )
    own.add_argument("--labels", metavar="FILE", help="true classes: a CSV file (idx,label or file,label) or FILE.npy")
    own.add_argument("--root", metavar="FOLDER", help="folder with the files of KIND")
    own.add_argument(
        "--resize", choices=["none", "exact", "shorter_side_crop"], default="none", help="image files (none)"
    )
    own.add_argument(
        "--colour",
        choices=["strict", "convert"],
        default="strict",
        help="other image files are refused, or converted (strict)",
    )
    own.add_argument(
        "--shape", type=_shape, metavar="C,H,W", help="shape of the images that the model takes, if it is not known"
    )


def add_noise(parser: argparse.ArgumentParser) -> None:
    """Which noise, drawn how."""
    own = parser.add_argument_group("noise")
    own.add_argument(
        "--noise",
        metavar="KIND:SIGMA",
        help="such as gaussian:0.25, or an entry as JSON (default: the noise of the training)",
    )
    own.add_argument("--seed", type=int, default=0, help="seed of the noise (0); the same seed gives the same counts")
    own.add_argument("--alpha", type=float, help=f"probability of error allowed per image ({USUAL_ALPHA:g})")
    own.add_argument(
        "--arithmetic", choices=["float", "exact"], help="exact: noise in whole grey levels, for 8-bit images (float)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where the answer goes."""
    own = parser.add_argument_group("output")
    own.add_argument(
        "--out",
        metavar="FILE.tsv",
        help="write the table to this file; a killed run can continue, with the same counts",
    )
    own.add_argument(
        "--json", action="store_true", help="print a JSON document: table, summary, and what they depend on"
    )
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
