"""Denoisers as fixed functions (`make_denoiser`), and the networks that denoise, then classify."""

from certflow.kinds.exports import exports

_HOMES = {
    "DenoiseThenClassify": "composed",
    "make_denoiser": "making",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
