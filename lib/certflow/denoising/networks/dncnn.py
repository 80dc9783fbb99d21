"""DnCNN (Zhang et al. 2017), in the variant of denoised smoothing (Salman et al. 2020): the network predicts the noise."""

import torch
from jaxtyping import Float
from torch import nn

EPS = 1e-4
"""Added to the variance in batch normalisation, as in `microsoft/denoised-smoothing`."""


class DnCNN(nn.Module):
    """y − layers(y): a convolution, `depth` − 2 convolutions with batch normalisation, and a convolution back to the image.

    With 3 channels, depth 17 and width 64 it has 558,400 parameters (556,096 with one channel; 2,222,720 at width 128). The
    last convolution starts at 0, so that a fresh network is the identity. `bn_momentum` is the weight of the newest batch in
    the running statistics: 0.1 as usual; the published code has 0.95, which keeps little but the last batch.
    """

    def __init__(self, channels: int, *, depth: int = 17, width: int = 64, bn_momentum: float = 0.1):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width, eps=EPS, momentum=bn_momentum),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.Conv2d(width, channels, 3, padding=1, bias=False))
        self.dncnn = nn.Sequential(*layers)
        _initialise(self.dncnn)

    def forward(
        self, y: Float[torch.Tensor, "rows channels height width"]
    ) -> Float[torch.Tensor, "rows channels height width"]:
        return y - self.dncnn(y)


def _initialise(layers: nn.Sequential) -> None:
    """Orthogonal weights, zero biases, and a last layer of zeros."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    last = layers[-1]
    if isinstance(last, nn.Conv2d):
        nn.init.zeros_(last.weight)
