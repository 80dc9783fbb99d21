"""A model that was trained elsewhere: a published checkpoint, or anybody's weights."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lib.registry import register
from lib.training.base import MethodSpec
from lib.training.places import checked_pattern, fill


@register("external")
class External(MethodSpec):
    """Brings a finished model instead of training one; the recipe's settings are refused here.

    The file's content, not its name, is what results depend on: its SHA-256 is recorded as a parent of the imported model.
    """

    kind: Literal["external"] = "external"
    trains: ClassVar[bool] = False
    splits: ClassVar[bool] = False
    unhashed: ClassVar[frozenset[str]] = (frozenset(MethodSpec.model_fields) - {"kind"}) | {"checkpoint"}

    checkpoint: str = Field(min_length=1)
    """Path of the weights, relative to where the workflow runs. {noise}, {sigma} and {seed} stand for the noise entry's name,
    its sigma and the seed; a format may follow a colon: `cohen/noise_{sigma:.2f}/checkpoint.pth.tar`."""
    mean: tuple[float, ...] | None = None
    """Channel means of the normalisation, [0,1] pixel units; null: what the file stores, else the model's and dataset's."""
    sd: tuple[float, ...] | None = None
    """Channel standard deviations. A mean without sd centres only, as some SmoothAdv models need."""

    @classmethod
    def rule(cls, own: Mapping[str, Any]) -> str:
        return "import_model"

    @field_validator("checkpoint")
    @classmethod
    def _known_places(cls, checkpoint: str) -> str:
        return checked_pattern(checkpoint)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        recipe = sorted(self.model_fields_set & (set(MethodSpec.model_fields) - {"kind"}))
        if recipe:
            raise ValueError(f"an external model is not trained, so it takes no {', '.join(recipe)}")
        if self.sd is not None:
            if self.mean is None:
                raise ValueError("sd is given without mean; give both (mean 0 to scale only)")
            if len(self.sd) != len(self.mean) or min(self.sd, default=0) <= 0:
                raise ValueError(f"sd must be {len(self.mean)} numbers above 0, one for each mean, got {list(self.sd)}")
        return self

    def file(self, noise: str, sigma: float, seed: int) -> str:
        """Path of the file for one noise entry (by name), its sigma, and a seed."""
        return fill(self.checkpoint, noise, sigma, seed)

    def loss(self, batch: Any) -> Any:
        raise TypeError("an external model is not trained")
