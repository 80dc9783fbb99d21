"""A model that was trained elsewhere: a published checkpoint, or anybody's weights."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from certflow.kinds.registry import register
from certflow.training.base import MethodSpec
from certflow.training.places import checked_pattern, fill

if TYPE_CHECKING:
    from certflow.config.study import Study
    from certflow.training.assembly import Assembled, Given

Output = Annotated[int, Field(ge=0)]


@register("external")
class External(MethodSpec):
    """Import a finished model instead of training one; settings of training are refused.

    Results depend on the file's content, not on its name: its SHA-256 is recorded as a parent of the imported model.
    """

    kind: Literal["external"] = "external"
    example: ClassVar[dict[str, Any]] = {"checkpoint": "checkpoint.pth"}
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
    weights: str = Field("auto", min_length=1)
    """Which of the file's weights: `auto` (plain ones; running averages if there are no others), `raw`, `ema`, or the place
    of one set, as the import names it: `state_dict_ema`, `state_dict:teacher.` (with the prefix of its names after a colon)."""
    outputs: Annotated[list[Output], Field(min_length=2)] | None = None
    """Numbers of the file's outputs that are the dataset's classes, in order: 200 of 1,000, or all of them in another order.
    Null: its outputs are the classes."""
    leave_out: list[str] = []
    """Patterns (`criterion.*`) of names in the file that do not belong to the classifier."""

    @field_validator("checkpoint")
    @classmethod
    def _known_places_of_file(cls, checkpoint: str) -> str:
        return checked_pattern(checkpoint)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sd is not None:
            if self.mean is None:
                raise ValueError("sd is given without mean; give both (mean 0 to scale only)")
            if len(self.sd) != len(self.mean) or min(self.sd, default=0) <= 0:
                raise ValueError(f"sd must be {len(self.mean)} numbers above 0, one for each mean, got {list(self.sd)}")
        if self.outputs is not None and len(set(self.outputs)) < len(self.outputs):
            raise ValueError("outputs: an output is listed twice")
        return self

    def pairing_problems(self, study: "Study", dataset: str, model: str, noise: str) -> list[str]:
        """Outputs that are not as many as the dataset's classes, and means that are not as many as its channels."""
        info, problems = study.datasets[dataset].info(), []
        if self.outputs is not None and len(self.outputs) != info.classes:
            problems.append(
                f"outputs: lists {len(self.outputs)} numbers, {dataset} has {info.classes} classes; list one for each"
            )
        if self.mean is not None and len(self.mean) not in (1, info.shape[0]):
            problems.append(
                f"mean: lists {len(self.mean)} numbers, the images of {dataset} have {info.shape[0]} channels"
            )
        return problems

    def options(self) -> dict[str, Any]:
        """What `certflow.models.published.load_weights` is to do otherwise than usual."""
        return {name: getattr(self, name) for name in ("mean", "sd", "weights", "outputs", "leave_out")}

    def brought(self, noise: str, sigma: float, seed: int) -> dict[str, str]:
        return {"checkpoint": fill(self.checkpoint, noise, sigma, seed)}

    def assemble(self, given: "Given") -> "Assembled":
        """The file's network, examined; its content is what the model is made from."""
        from certflow.files.contents import require_contents
        from certflow.models import importing
        from certflow.training.assembly import Assembled

        path, test = given.files.checkpoint, given.data.test
        if path is None:
            raise ValueError("an external model is made from a checkpoint")
        network, notes = importing.import_model(
            path, self, given.architecture(), given.info, test, given.noise, given.seed, given.device
        )
        importing.tell(path, notes)
        parents = {"checkpoint": notes.pop("sha256")}
        require_contents(given.spec, parents)
        return Assembled(network, parents, notes=notes)

    def loss(self, batch: Any) -> Any:
        raise TypeError("an external model is not trained")
