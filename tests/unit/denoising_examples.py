"""Small classifiers and denoisers for the tests of denoising; no test in here."""

import torch

from certflow.data.base import DataInfo
from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.kinds.dncnn import DnCNN
from certflow.denoising.kinds.drunet import DRUNet
from certflow.models import build
from certflow.models.kinds.small_conv import SmallConv

INFO = DataInfo(classes=10, shape=(1, 8, 8))
DNCNN = DnCNN(depth=4, width=8)
DRUNET = DRUNet(widths=(4, 6, 8, 8), blocks=1)


def classifier(seed: int = 0) -> torch.nn.Module:
    """A classifier of digits with statistics of batch normalisation that are not trivial."""
    torch.manual_seed(seed)
    network = build(SmallConv(), INFO).train()
    for _ in range(3):
        network(torch.rand(32, 1, 8, 8))
    return network.eval()


def composed(spec=DNCNN, sigma: float | None = 0.5, seed: int = 0, **options) -> DenoiseThenClassify:
    """A denoiser that does something, before `classifier`."""
    frozen = classifier(seed)
    denoiser = spec.build(INFO, sigma)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return DenoiseThenClassify(denoiser, frozen, **options).eval()
