"""DnCNN, the denoiser of denoised smoothing (Zhang et al. 2017; Salman et al. 2020, section 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.kinds.registry import register

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser


@register("dncnn")
class DnCNN(DenoiserSpec):
    """17 convolutions of 64 filters that predict the noise; `width: 128` is the papers' DnCNN-wide."""

    kind: Literal["dncnn"] = "dncnn"
    example: ClassVar[dict[str, Any]] = {"depth": 4, "width": 8}

    depth: int = Field(17, ge=3)
    """Convolutions."""
    width: int = Field(64, ge=1)
    """Filters of each but the last."""
    bn_momentum: float = Field(0.1, gt=0, le=1)
    """Weight of the newest batch in the running statistics; the published code has 0.95."""

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        from certflow.denoising.denoiser import Blind
        from certflow.denoising.networks.dncnn import DnCNN

        network = DnCNN(info.shape[0], depth=self.depth, width=self.width, bn_momentum=self.bn_momentum)
        return Blind(network)
