"""One call from a kind's name to a denoiser that is ready for use."""

from typing import Any

from certflow.data.base import DataInfo
from certflow.denoising.denoiser import Denoiser
from certflow.kinds.registry import spec_class


def make_denoiser(kind: str, shape: tuple[int, ...], sigma: float, **fields: Any) -> Denoiser:
    """A denoiser in eval mode for images of `shape` (channels, height, width), fixed to the noise level `sigma`.

    fields: those of the kind's entry in the configuration, such as `weights`; without weights it starts from fresh ones.
    Raises ValueError where the kind cannot be used so, `ArtefactError` for files that do not fit.
    """
    info, spec = DataInfo(classes=1, shape=shape), spec_class("denoiser", kind)(**fields)
    problems = [*spec.problems(info), *spec.level_problems(sigma)]
    if problems:
        raise ValueError(f"{kind}: {'; '.join(problems)}")
    made = spec.load_weights(info, sigma)[0] if spec.trained and spec.train is None else spec.build(info, sigma)
    return made.eval()
