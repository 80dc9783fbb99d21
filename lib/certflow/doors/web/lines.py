"""The lines of Python and of the shell that give the numbers on a page again."""

import json
import shlex
from typing import Any

from certflow.certify.base import CertificateSpec
from certflow.doors.web.asked import AskedCertify
from certflow.doors.web.brought import CARD
from certflow.doors.web.card import Card
from certflow.kinds.spec import Spec
from certflow.sampling.base import SamplerSpec

UPLOADED = "image.npy"
"""What the image of a job is called when it is downloaded."""


def python_lines(card: Card, asked: AskedCertify, sampler: SamplerSpec, certificate: CertificateSpec) -> str:
    """A script that prints the row of the table."""
    noise = card.under(asked.draws.sigma)
    index = asked.picture.index
    return "\n".join(
        [
            "import numpy as np",
            "from certflow.certify.memory import certify",
            "from certflow.kinds.registry import spec_class",
            *_loading(card),
            *_denoising(card),
            "",
            f'images = np.load("{UPLOADED}")  # uint8 {[1, *card.shape]}: download it below',
            f"noise = {_spec('noise', noise)}",
            f"sampler = {_spec('sampler', sampler)}",
            f"certificate = {_spec('certificate', certificate)}",
            "found = certify(brought.model, images, noise, sampler, certificate,",
            f"                seed={asked.draws.seed}, index=[{index}], inference=brought.inference)",
            'print(found.table[["predict", "radius", "n", "k", "p_lower"]])',
        ]
    )


def shell_lines(card: Card, asked: AskedCertify, sampler: SamplerSpec, certificate: CertificateSpec) -> str | None:
    """The command; None for models whose file does not say all of what they are."""
    if card.source != "pipeline":
        return None
    index, test = asked.picture.index, asked.picture.source == "test"
    images = f"test[{index}:{index + 1}]" if test else UPLOADED
    options = {
        "--model": str(card.path),
        "--images": images,
        "--noise": _entry(card.under(asked.draws.sigma)),
        "--sampler": _entry(sampler),
        "--certificate": _entry(certificate),
        "--seed": str(asked.draws.seed),
    }
    if card.behind is not None:
        options["--denoiser"] = str(card.behind.path)
    return "certflow certify \\\n" + " \\\n".join(f"  {name} {shlex.quote(value)}" for name, value in options.items())


def _loading(card: Card) -> list[str]:
    if card.source == "pipeline":
        return [
            "from certflow.doors.bring import from_results",
            "",
            f"brought = from_results({str(card.path)!r})",
        ]
    return [
        "from pathlib import Path",
        "from certflow.doors.web.brought import load, read_card",
        "",
        f"brought = load(read_card(Path({str(card.path.with_name(CARD))!r})))",
    ]


def _denoising(card: Card) -> list[str]:
    if card.behind is None:
        return []
    other = f"from_results({str(card.behind.path)!r})"
    return [
        "from certflow.doors.bring import behind_denoiser_of, from_results",
        f"brought = behind_denoiser_of(brought, {other})",
    ]


def _changed(spec: Spec) -> dict[str, Any]:
    """The settings that are not the kind's defaults."""
    return spec.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})


def _spec(family: str, spec: Spec) -> str:
    settings = "".join(f"{name}={value!r}, " for name, value in _changed(spec).items()).removesuffix(", ")
    return f'spec_class("{family}", "{spec.kind}")({settings})'


def _entry(spec: Spec) -> str:
    """An entry on the command line. The sampler's name is known there."""
    settings = {name: value for name, value in _changed(spec).items() if name != "sampler"}
    return spec.kind if not settings else json.dumps({"kind": spec.kind, **settings})
