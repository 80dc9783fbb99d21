"""3×3 and 5×5 convolutions on a CPU with a fraction of the products (`winograd.c`): half the time of a residual network.

Winograd's algorithm computes the same convolution with other, larger rounding errors: some 1e-6 to 1e-5 of the largest value
where the plain sum has 1e-7. So a network says in its entry that it wants it (`inference: {native: true}`), and then it is an
error if no C compiler is there, since whether one is must not decide what is certified.

Source of algorithm and transforms: Lavin and Gray 2016, section 4. 3×3 has the points and the scaling of F(4×4, 3×3) there; 5×5
has those of the usual F(6×6, 3×3), whose tiles are as large.
"""

from typing import ClassVar

import torch
from jaxtyping import Float

from certflow.sampling.fast.native import COLUMNS, Convolution, NativeConv2d, geometry, whole

LEAST = 16
"""Convolutions with fewer channels gain nothing: the transforms cost more than the products."""
SIDE = 4
"""Of the tiles of outputs."""
WASTE = 2.0
"""Images that do not fill the tiles: so many times as many outputs as are wanted may be computed."""
POINTS = {
    3: {0: 1 / 4, 1: -1 / 6, -1: -1 / 6, 2: 1 / 24, -2: 1 / 24},
    5: {0: 1, 1: -2 / 9, -1: -2 / 9, 2: 1 / 90, -2: 1 / 90, 1 / 2: 32 / 45, -1 / 2: 32 / 45},
}
"""Size of the filters → where the polynomial of a filter's line is evaluated → scale. The last point is infinity, where its
value is the leading coefficient."""


class WinogradConv2d(NativeConv2d):
    """3×3 or 5×5, stride 1, of many channels."""

    source: ClassVar[str] = "winograd.c"

    @staticmethod
    def fits(layer: Convolution) -> bool:
        outputs, inputs, size, _ = layer.weight.shape
        padding, stride, _, _ = geometry(layer)
        return size in POINTS and padding[0] < size and stride[0] == 1 and min(outputs, inputs) >= LEAST

    @staticmethod
    def pays(layer: Convolution, height: int, width: int) -> bool:
        """Whether outputs of this size fill most of the tiles."""
        return SIDE**2 * -(-height // SIDE) * -(-width // SIDE) <= WASTE * height * width

    @staticmethod
    def arranged(
        weight: Float[torch.Tensor, "outputs inputs size size"],
    ) -> Float[torch.Tensor, "points panels inputs 16"]:
        """At the points, computed in float64."""
        powers = range(weight.shape[2])
        finite = [[scale * point**power for power in powers] for point, scale in POINTS[weight.shape[2]].items()]
        lines = torch.tensor([*finite, [float(power == powers[-1]) for power in powers]], dtype=torch.float64)
        at_points = torch.einsum("ia,kcab,jb->kijc", lines, whole(weight.double()), lines).flatten(1, 2)
        return at_points.unflatten(0, (-1, COLUMNS)).permute(2, 0, 3, 1).float().contiguous()
