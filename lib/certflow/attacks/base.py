"""What every attack states, and the one function that it has to supply: one attempt on a batch of images."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from certflow.kinds.spec import Spec
from certflow.noise.base import NoiseSpec
from certflow.stats.levels import Alpha
from certflow.stats.limits import USUAL_ALPHA

if TYPE_CHECKING:
    import numpy as np
    import torch

    from certflow.attacks.target import Target


class AttackSpec(Spec):
    """Base of all attacks: on the classifier as it is, under no noise, unless a kind is of `SmoothedAttack`."""

    family: ClassVar[str] = "attack"
    revision: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    """What the noise must offer (`NoiseSpec.offers`) for models of it to be attacked."""
    smoothed: ClassVar[bool] = False
    """Whether the smoothed classifier is attacked: only then does the attack bound what certificates say from above."""

    norm: Literal["l2", "linf"] = "l2"
    """The norm of the ball around each image."""
    eps: list[float] = Field(min_length=1)
    """Radii of the ball, in [0,1]-pixel units (8/255 is 0.0314), increasing. Each is attacked by itself."""

    @field_validator("eps")
    @classmethod
    def _increasing(cls, eps: list[float]) -> list[float]:
        if sorted(set(eps)) != eps or eps[0] < 0:
            raise ValueError("must increase and not be negative")
        return eps

    @property
    def attempts(self) -> int:
        """Attempts on an image at one radius. The first that succeeds ends it."""
        return 1

    @property
    def copies(self) -> int:
        """Rows of the network's batch that an image takes in one pass."""
        return 1

    @property
    def passes(self) -> int:
        """How often one attempt shows an image, or a copy of it, to the network. Judging it is not counted."""
        raise NotImplementedError

    @property
    def judged(self) -> int:
        """Draws that judge one attempt, for planning."""
        return 1

    def attempt(self, target: "Target", number: int) -> "torch.Tensor":
        """Attempt `number` (from 0): images like `target.x`, in [0,1] and in the ball of radius `target.eps` around it.

        A pure function of the model, each image and the target's seed. `certflow.attacks.balls.moved` keeps to the ball.
        """
        raise NotImplementedError

    def distance(self, found: "torch.Tensor", x: "torch.Tensor") -> "torch.Tensor":
        """float64 [images]: how far found images are from the given ones, in units of `eps`."""
        from certflow.attacks.balls import sizes

        return sizes(found.double() - x.double(), self.norm).flatten()

    def predicted(self, victim: Any, x: "torch.Tensor", index: "np.ndarray", number: int = 0) -> "np.ndarray":
        """int64 [images]: the classes of images float32 in [0,1], or of texts, as attempt `number` is judged; -1: not settled.

        victim: `certflow.attacks.victim.Victim`, or `certflow.attacks.texts.TextVictim`.
        """
        return victim.plain_classes(x, index)

    def problems(self, noise: NoiseSpec) -> list[str]:
        """Why models of this noise cannot be attacked so (empty: they can)."""
        return [f"{self.kind} {line}" for line in noise.lacks(self.needs)]


class SmoothedAttack(AttackSpec):
    """Base of the attacks on the smoothed classifier. Fresh draws judge them (PREDICT), which the attack has not seen.

    Attempt r is judged at level alpha / 2^(r + 1), so that all attempts on an image together mistake it with probability at
    most alpha: a success is a class that the smoothed classifier really gives, up to that.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"additive", "differentiable"})
    smoothed: ClassVar[bool] = True

    n: int = Field(1000, ge=2)
    """Draws that judge each attempt."""
    alpha: Alpha = USUAL_ALPHA
    """Probability per image and radius that a judgement is wrong."""

    @model_validator(mode="after")
    def _can_judge(self) -> Self:
        from certflow.stats.limits import smallest_n_to_predict

        least = smallest_n_to_predict(self.level(self.attempts - 1))
        if self.n < least:
            raise ValueError(
                f"n={self.n} draws can never judge the last attempt at alpha={self.alpha:g}; use n={least}"
            )
        return self

    @property
    def judged(self) -> int:
        """`n`."""
        return self.n

    def level(self, number: int) -> float:
        """The level at which attempt `number` is judged."""
        return self.alpha / 2.0 ** (number + 1)

    def predicted(self, victim: Any, x: "torch.Tensor", index: "np.ndarray", number: int = 0) -> "np.ndarray":
        """See `AttackSpec.predicted`: PREDICT with draws of this attempt alone."""
        return victim.smoothed_classes(x, index, n=self.n, alpha=self.level(number), first=number * self.n)

    def problems(self, noise: NoiseSpec) -> list[str]:
        """There must be noise that smooths."""
        if noise.sigma == 0:
            return [f"noise of kind {noise.kind} smooths nothing; use an attack on the classifier itself, such as pgd"]
        return super().problems(noise)


class SteppedAttack(AttackSpec):
    """Base of the attacks that follow a gradient in steps of one length, and may start again elsewhere."""

    steps: int = Field(20, ge=1, le=10_000)
    """Steps of one attempt."""
    step: float = Field(2.5, gt=0)
    """Length of a step, in eps / steps: 2.5 lets an attempt cross the ball and turn."""
    restarts: int = Field(1, ge=1, le=100)
    """Attempts. The first starts at the image, the others at random points of the ball."""

    @property
    def attempts(self) -> int:
        """`restarts`."""
        return self.restarts

    @property
    def passes(self) -> int:
        """One of each copy at every step."""
        return self.steps * self.copies

    def ascent(self, target: "Target", number: int, objective: Any) -> "torch.Tensor":
        """The end of the ascent on `objective` (images → float64 [images]) from the start of attempt `number`."""
        from certflow.attacks.ascent import ascend

        return ascend(target, objective, norm=self.norm, steps=self.steps, step=self.step, number=number)
