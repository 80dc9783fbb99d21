"""What every denoiser entry of the configuration states before a network is built."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from certflow.data.base import DataInfo
from certflow.files.contents import by_number
from certflow.files.paths import without_braces
from certflow.kinds.spec import Spec
from certflow.training.denoisers.ranges import RangeTraining

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser

MARGIN = 1.1
"""A denoiser may be used up to 10 % outside the noise levels that it was trained for."""


class DenoiserSpec(Spec):
    """Base of all denoisers: an architecture, and where its weights come from.

    `weights`: a finished denoiser. `train`: one training here, over a range of noise levels and for no classifier in
    particular. Neither: fresh weights, for a method of kind `denoised` with an objective to train at its own noise level.
    """

    family: ClassVar[str] = "denoiser"
    takes_level: ClassVar[bool] = False
    """Whether the network is given the noise level."""
    trainable: ClassVar[bool] = True
    """Whether a method of kind `denoised` may train it with an objective."""
    unhashed: ClassVar[frozenset[str]] = frozenset({"weights", "allow_sigma_extrapolation"})

    in_use: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how the network is used; a training by itself does not depend on them."""

    weights: str | None = Field(None, min_length=1)
    """Path of trained weights; their SHA-256 becomes part of what results depend on."""
    sigma_range: tuple[float, float] | None = None
    """Lowest and highest noise level, [0,1]-pixel units, that `weights` were trained for; equal for one level only."""
    allow_sigma_extrapolation: bool = False
    """Use the denoiser at noise levels more than 10 % outside those it was trained for."""
    train: RangeTraining | None = None
    """Train the denoiser here, over a range of noise levels and for no classifier in particular."""

    @field_validator("weights")
    @classmethod
    def _no_wildcards(cls, weights: str | None) -> str | None:
        return None if weights is None else without_braces(weights)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.weights is not None and self.train is not None:
            raise ValueError("either `weights` or `train`: a denoiser comes finished or is trained here")
        if self.sigma_range is not None:
            low, high = self.sigma_range
            if not 0 <= low <= high:
                raise ValueError(f"sigma_range must rise from 0 or more, got {[low, high]}")
            if self.train is not None:
                raise ValueError(
                    "sigma_range states what `weights` were trained for; for training here, set it in `train`"
                )
        return self

    def without_effect(self) -> dict[str, str]:
        """What is said of weights that are not there."""
        said = () if self.trained else ("sigma_range", "allow_sigma_extrapolation")
        return {**super().without_effect(), **{name: "has no effect on a denoiser without weights" for name in said}}

    @property
    def trained(self) -> bool:
        """Whether the denoiser comes with weights, so that it can be used as it is."""
        return self.weights is not None or self.train is not None

    def trained_as(self) -> dict[str, Any]:
        """`canonical()`, as far as a training by itself depends on it: the fields `in_use` are as by default."""
        usual = {name: type(self).model_fields[name].default for name in self.in_use}
        return self.model_copy(update=usual).canonical()

    def range(self) -> tuple[float, float] | None:
        """Noise levels that the weights were trained for; None where there are none yet."""
        return self.train.sigma_range if self.train is not None else self.sigma_range

    def problems(self, info: DataInfo) -> list[str]:
        """Why this denoiser cannot be used on such data (empty: it can)."""
        return []

    def level_problems(self, sigma: float) -> list[str]:
        """Why this denoiser, with the weights it comes with, cannot be used at a noise level (empty: it can)."""
        if not 0 < sigma < float("inf"):
            return [f"a denoiser needs a noise level above 0, got {sigma:g}"]
        if not self.trained or self.allow_sigma_extrapolation:
            return []
        levels = self.range()
        if levels is None:
            return ["sigma_range: say which noise levels the weights were trained for"]
        low, high = levels
        if low / MARGIN <= sigma <= high * MARGIN:
            return []
        return [
            f"was trained for noise levels {low:g} to {high:g}, not {sigma:g}; train it for that level, or set "
            "allow_sigma_extrapolation: true"
        ]

    def absent(self) -> list[str]:
        """What the denoiser is made from besides local files and is not there."""
        return []

    def files(self) -> list[str]:
        """Local files that the weights come from."""
        return [] if self.weights is None else [self.weights]

    def brought(self) -> dict[str, str]:
        """Role → path of the local files that the weights come from, the roles `denoiser`, `denoiser.1` and so on."""
        return by_number("denoiser", self.files())

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        """The denoiser with fresh weights. condition: the noise level it is fixed to; kinds that take none ignore it.

        notes: what `load_weights` found out about weights made elsewhere and the architecture depends on.
        """
        raise NotImplementedError

    def load_weights(self, info: DataInfo, condition: float | None) -> tuple["Denoiser", dict[str, Any]]:
        """The denoiser with the weights of `weights`, and notes (`sha256` of files); errors as in `certflow.models.fitting`."""
        from certflow.files.intact import file_digest
        from certflow.models.fitting import fit
        from certflow.models.taking import take

        if self.weights is None:
            raise ValueError(f"a denoiser of kind {self.kind} is given no weights")
        denoiser = self.build(info, condition)
        fit(denoiser.network, take(self.weights, denoiser.network)[0].weights, self.weights, exact=False)
        return denoiser, {"sha256": file_digest(self.weights)}
