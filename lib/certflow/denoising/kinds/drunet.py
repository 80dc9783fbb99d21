"""DRUNet, one network for a whole range of noise levels (Zhang et al. 2021)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.kinds.registry import register

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser


@register("drunet")
class DRUNet(DenoiserSpec):
    """A U-Net of residual blocks without biases that is given the noise level; loads `drunet_color` and `drunet_gray`.

    The published weights were trained for noise levels 0 to 50/255: `sigma_range: [0, 0.196]`.
    """

    kind: Literal["drunet"] = "drunet"
    example: ClassVar[dict[str, Any]] = {"widths": [4, 6, 8, 8], "blocks": 1}
    takes_level: ClassVar[bool] = True

    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels at full, half, quarter and eighth resolution."""
    blocks: int = Field(4, ge=1)
    """Residual blocks at each resolution."""

    def problems(self, info: DataInfo) -> list[str]:
        return [] if min(self.widths) >= 1 else [f"widths must be at least 1, got {list(self.widths)}"]

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        from certflow.denoising.denoiser import LevelPlane
        from certflow.denoising.networks.drunet import MULTIPLE, DRUNet

        network = DRUNet(info.shape[0], widths=self.widths, blocks=self.blocks)
        return LevelPlane(network, condition, shape=info.shape, multiple=MULTIPLE)
