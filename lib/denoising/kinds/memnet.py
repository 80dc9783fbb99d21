"""MemNet, the other denoiser of denoised smoothing (Tai et al. 2017; Salman et al. 2020, section 3)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lib.data.base import DataInfo
from lib.denoising.base import DenoiserSpec
from lib.registry import register

if TYPE_CHECKING:
    from lib.denoising.denoiser import Denoiser


@register("memnet")
class MemNet(DenoiserSpec):
    """Three memory blocks of six residual blocks each, gated into a long-term memory."""

    kind: Literal["memnet"] = "memnet"

    width: int = Field(64, ge=1)
    memories: int = Field(3, ge=1)
    """Memory blocks."""
    residuals: int = Field(6, ge=1)
    """Residual blocks in each memory block."""

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        from lib.denoising.denoiser import Blind
        from lib.denoising.networks.memnet import MemNet

        return Blind(MemNet(info.shape[0], width=self.width, memories=self.memories, residuals=self.residuals))
