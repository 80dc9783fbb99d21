"""MemNet, the other denoiser of denoised smoothing (Tai et al. 2017; Salman et al. 2020, section 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.kinds.registry import register

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser


@register("memnet")
class MemNet(DenoiserSpec):
    """Three memory blocks of six residual blocks each, gated into a long-term memory."""

    kind: Literal["memnet"] = "memnet"
    example: ClassVar[dict[str, Any]] = {"width": 8, "memories": 1, "residuals": 1}

    width: int = Field(64, ge=1)
    """Filters of each convolution."""
    memories: int = Field(3, ge=1)
    """Memory blocks."""
    residuals: int = Field(6, ge=1)
    """Residual blocks in each memory block."""

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        from certflow.denoising.denoiser import Blind
        from certflow.denoising.networks.memnet import MemNet

        return Blind(MemNet(info.shape[0], width=self.width, memories=self.memories, residuals=self.residuals))
