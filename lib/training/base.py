"""What every training method states, and the one function it has to supply: its loss on a batch."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lib.spec import Spec

if TYPE_CHECKING:
    import torch

    from lib.training.batch import Batch


class MethodSpec(Spec):
    """Base of all training methods: the common optimiser recipe, and `loss` to be supplied by each kind.

    Defaults are those the field's CIFAR-10 recipes share; `preset: paper` in the configuration overlays the row that the
    papers state for the dataset and noise level at hand (see `presets/`), and keys written by the user win over both.
    """

    family: ClassVar[str] = "method"
    trains: ClassVar[bool] = True
    """False for kinds that bring a finished model instead."""

    epochs: int = Field(150, ge=1)
    batch: int = Field(256, ge=1)
    """Images per loader batch."""
    lr: float = Field(0.1, gt=0)
    schedule: Literal["step", "one_cycle"] = "step"
    """`step`: multiply by lr_gamma every lr_step epochs. `one_cycle`: linear up over 20 % of the run, linear down to 0."""
    lr_step: int = Field(50, ge=1)
    lr_gamma: float = Field(0.1, gt=0, le=1)
    lr_drop_offset: Literal[0, 1] = 1
    """1: every drop comes one epoch late, as in the CAT-RS, SmoothMix and DSRS code; 0: on time, as in Cohen's."""
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast of the forward pass; losses stay float32."""
    augmentation: Literal["dataset", "none"] = "dataset"
    noises: int = Field(1, ge=1)
    """Noise draws per image and step (the field's m). With `splits`, each loader batch is cut into this many mini-batches."""

    splits: ClassVar[bool] = True
    """Whether a loader batch of B images becomes `noises` consecutive mini-batches with one optimiser step each."""

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """The scalar to minimise on one mini-batch, and what to log: detached device scalars, never read on the host here.

        `correct` (number of right predictions) and `count` are logged as training accuracy where they are given.
        """
        raise NotImplementedError
