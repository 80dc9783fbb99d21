"""A diffusion model as one-shot denoiser (Carlini et al. 2023)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from certflow.data.base import DataInfo
from certflow.denoising.base import DenoiserSpec
from certflow.denoising.schedule import Schedule
from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import register
from certflow.models.hf_folder import pinned, uncached

if TYPE_CHECKING:
    from certflow.denoising.denoiser import Denoiser


MADE_HERE = (OnlyWith("hub", None), OnlyWith("weights", None))
"""Of settings that are found in every model that is brought along."""
SAID_BY_HUB = OnlyWith("hub", None)
"""Of those that models of a hub say, and not OpenAI's files."""


@register("diffusion")
class Diffusion(DenoiserSpec):
    """clamp(y − σ·ε̂(√ā·(2y − 1), t)) with the step t at which the model expects noise of the level it is given.

    Its network is trained here (`train`), or comes as a folder of the diffusers library or a checkpoint of OpenAI's U-Nets
    (`weights`), or from a model hub (`hub`). A network from elsewhere states how it is built and what it predicts;
    the settings of the network below are for training here, those of the schedule also for OpenAI's files, which do not
    say: `cosine` with 4000 steps and time_scale 0.25 for CIFAR-10, `linear` with 1000 for ImageNet.
    """

    kind: Literal["diffusion"] = "diffusion"
    example: ClassVar[dict[str, Any]] = {"widths": [8, 16], "layers": 1, "attention": [1], "head_dim": 8, "groups": 4}
    takes_level: ClassVar[bool] = True
    unhashed: ClassVar[frozenset[str]] = DenoiserSpec.unhashed | {"download"}
    in_use: ClassVar[frozenset[str]] = frozenset({"mode", "t_rule"})

    hub: str | None = Field(None, min_length=1)
    """Name of a model on a hub, such as `google/ddpm-cifar10-32`; only what lies in the local cache unless `download`."""
    hub_revision: Annotated[str | None, OnlyWith("hub")] = None
    """Commit of the model on the hub, all 40 digits; needed with `hub`, since the newest commit changes."""
    download: Annotated[bool, OnlyWith("hub")] = False
    """Fetch what the cache lacks, where there is a network."""

    widths: Annotated[tuple[int, ...], *MADE_HERE] = Field((128, 256, 256, 256), min_length=1)
    """Channels of each level; each level has half the resolution of the one before."""
    layers: Annotated[int, *MADE_HERE] = Field(2, ge=1)
    """Residual blocks per level on the way down; one more on the way up."""
    attention: Annotated[tuple[int, ...], *MADE_HERE] = (1,)
    """Levels with attention, counted from 0; the middle always has it."""
    head_dim: Annotated[int, SAID_BY_HUB] = Field(64, ge=1)
    """Width of an attention head; OpenAI's files do not say it (64 in the published ones)."""
    groups: Annotated[int, SAID_BY_HUB] = Field(32, ge=1)
    """Groups of the normalisations; every width must be a multiple."""
    dropout: Annotated[float, *MADE_HERE] = Field(0.0, ge=0, lt=1)
    """Share of the features that training leaves out in each residual block."""

    schedule: Literal["linear", "cosine"] = "linear"
    """How the noise level grows over the steps: evenly in the variance of a step, or along a squared cosine."""
    steps: int = Field(1000, ge=2)
    """Steps of the schedule."""
    time_scale: Annotated[float, SAID_BY_HUB] = Field(1.0, gt=0)
    """Factor from steps to the time that the network gets: 0.25 for OpenAI's CIFAR-10 model."""
    prediction: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    """What the network predicts: the noise, the clean image, or the velocity of Salimans and Ho (2022)."""
    mode: Literal["exact", "paper"] = "exact"
    """`exact`: scaled for exactly the noise that is drawn; `paper`: for the next of the schedule's levels, as published."""
    t_rule: Annotated[Literal["interp", "ceil"], OnlyWith("mode", "exact")] = "interp"
    """`exact` mode: a time between steps, or the next whole step."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.hub is not None and (self.weights is not None or self.train is not None):
            raise ValueError("one of `hub`, `weights` and `train`: a denoiser has one origin")
        if self.prediction == "sample" and self.train is not None and self.train.sigma_range[0] == 0:
            raise ValueError(
                "train.sigma_range: must start above 0 with prediction sample: an error of the clean image counts in units of "
                "the noise, and would be divided by next to nothing"
            )
        pinned(self.hub, self.hub_revision)
        Schedule(self.schedule, self.steps)  # refuses too few steps
        wrong = [level for level in self.attention if not 0 <= level < len(self.widths)]
        if wrong:
            raise ValueError(f"attention: levels are 0 to {len(self.widths) - 1}, got {wrong}")
        odd = [width for width in self.widths if width % self.groups]
        if odd:
            raise ValueError(f"widths: must be multiples of groups={self.groups}, got {odd}")
        attending = [self.widths[level] for level in self.attention] + [self.widths[-1]]
        if any(width % self.head_dim for width in attending):
            raise ValueError(
                f"widths: with attention they must be multiples of head_dim={self.head_dim}, got {attending}"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        """Also a training's criterion."""
        found = super().without_effect()
        if self.train is not None and self.train.criterion != type(self.train).model_fields["criterion"].default:
            found["train"] = "criterion has no effect: a diffusion network always compares noise, squared"
        return found

    @property
    def trained(self) -> bool:
        return super().trained or self.hub is not None

    def range(self) -> tuple[float, float] | None:
        """Noise levels of the training here, else of the whole schedule."""
        if self.train is not None:
            return self.train.sigma_range
        levels = Schedule(self.schedule, self.steps).levels
        return self.sigma_range or (float(levels[0]), float(levels[-1]))

    def problems(self, info: DataInfo) -> list[str]:
        smallest = 2 ** (len(self.widths) - 1)
        if self.weights is None and self.hub is None and min(info.shape[1:]) < smallest:
            return [f"widths: {len(self.widths)} levels need images of at least {smallest}x{smallest} pixels"]
        return []

    def files(self) -> list[str]:
        if self.weights is None:
            return []  # at every start of Snakemake: without importing torch
        from certflow.denoising.pretrained import files_of

        return files_of(self.weights)

    def absent(self) -> list[str]:
        return uncached(self.hub, self.hub_revision, download=self.download)

    def build(self, info: DataInfo, condition: float | None, notes: Mapping[str, Any] | None = None) -> "Denoiser":
        """notes: `unet` (settings of the network), `schedule`, `time_scale` and `prediction` of a model brought along."""
        from certflow.denoising.networks.unet import UNet
        from certflow.denoising.oneshot import OneShot

        own: dict[str, Any] = {
            "unet": self._settings(info),
            "schedule": {"kind": self.schedule, "steps": self.steps},
            "time_scale": self.time_scale,
            "prediction": self.prediction,
        }
        said = {**own, **{key: value for key, value in (notes or {}).items() if key in own}}
        return OneShot(
            UNet(said["unet"]),
            condition,
            shape=info.shape,
            schedule=Schedule(**said["schedule"]),
            mode=self.mode,
            t_rule=self.t_rule,
            time_scale=said["time_scale"],
            prediction=said["prediction"],
            multiple=2 ** (len(said["unet"]["block_out_channels"]) - 1),
        )

    def load_weights(self, info: DataInfo, condition: float | None) -> tuple["Denoiser", dict[str, Any]]:
        from certflow.denoising.pretrained import load_pretrained

        return load_pretrained(self, info, condition)

    def _settings(self, info: DataInfo) -> dict[str, Any]:
        from certflow.denoising.networks.unet import settings

        return settings(
            info.shape[0],
            info.shape[1],
            widths=self.widths,
            layers=self.layers,
            attention=self.attention,
            head_dim=self.head_dim,
            groups=self.groups,
            dropout=self.dropout,
        )
