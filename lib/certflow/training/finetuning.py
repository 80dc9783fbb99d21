"""Training a classifier behind a denoiser: how the pair is assembled, which part learns, what it is shown."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float

from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.stored import seen
from certflow.models import adapters, build
from certflow.models.header import carried_warnings, read_header
from certflow.training.assembly import Assembled, Given, own_weights
from certflow.training.batch import Batch
from certflow.training.composing import part

if TYPE_CHECKING:
    from certflow.training.kinds.ftcadis import FtCadis
    from certflow.training.kinds.retrained import Retrained


def assemble(method: "FtCadis", given: Given) -> Assembled:
    """The network of the method `start`, whose classifier now learns instead; errors as in `MethodSpec.assemble`."""
    record, digest = read_header(given.files.parts["pair"])
    pair = cast(DenoiseThenClassify, part(given, "pair"))
    pair.classifier.requires_grad_(True)
    if method.mode == "lora":
        adapters.add(pair.classifier, method.rank)
    network = DenoiseThenClassify(
        pair.denoiser, pair.classifier, clamp=pair.clamp, resize=pair.resize, learns="classifier"
    )
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return Assembled(
        network,
        {"data": given.data.digest, "pair": digest},
        record.facts,
        {**carried_warnings(record), "trained_parameters": trained},
    )


def assemble_anew(method: "Retrained", given: Given) -> Assembled:
    """The denoiser of the method `start` before a network with fresh weights; errors as in `MethodSpec.assemble`."""
    record, digest = read_header(given.files.parts["pair"])
    pair = cast(DenoiseThenClassify, part(given, "pair"))
    classifier = build(given.architecture(), seen(given.info, pair.resize))
    pair.denoiser.requires_grad_(True)
    network = DenoiseThenClassify(
        pair.denoiser,
        classifier,
        clamp=pair.clamp,
        resize=pair.resize,
        learns="classifier" if method.frozen else "both",
    )
    parents = {"data": given.data.digest, "pair": digest, **own_weights(given, classifier)}
    return Assembled(network, parents, record.facts, carried_warnings(record))


@torch.no_grad()
def denoised(batch: Batch, m: int) -> Float[torch.Tensor, "m images channels height width"]:
    """What the frozen denoiser of the batch's network makes of `m` noisy copies of every image, in the batch's precision."""
    return replace(batch, model=batch.model.denoiser).forward(batch.copies(m))
