"""What jobs are asked for: the part of a job that never changes."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from certflow.doors.web.words import LONGEST
from certflow.kinds.spec import Record
from certflow.noise.base import LARGEST_SIGMA
from certflow.stats.levels import Alpha
from certflow.stats.limits import LARGEST_N, USUAL_ALPHA


class Sampled(Record):
    """How noise is drawn, and how often an answer may be wrong."""

    alpha: Alpha = USUAL_ALPHA
    """Probability of error allowed per image."""
    seed: int = Field(0, ge=0, lt=1 << 63)
    """Seed of all draws."""
    arithmetic: Literal["float", "exact"] = "float"
    """`exact`: noise in whole grey levels, see docs/sampling.md."""
    sigma: float | None = Field(None, gt=0, le=LARGEST_SIGMA)
    """Another noise level than the model was trained under."""


class Draws(Sampled):
    """How a certificate is made; see `certflow.doors.web.ways`."""

    way: str = "anytime.l2"
    """Certificate and norm."""
    n0: int = Field(100, ge=1, le=1_000_000)
    """Draws that choose the class."""
    n: int = Field(10_000, ge=1, le=LARGEST_N)
    """Draws that are certified."""

    def settings(self) -> dict[str, Any]:
        """Those that samplers and certificates may have."""
        return {"n0": self.n0, "n": self.n, "alpha": self.alpha, "arithmetic": self.arithmetic}


class Votes(Sampled):
    """How many votes on an image are taken at once, without a job, and how."""

    n: int = Field(1000, ge=1, le=10_000)
    """Votes: few enough to be waited for."""


class Picture(Record):
    """Where an image comes from. Its pixels lie beside the job."""

    source: Literal["test", "upload", "drawing"] = "test"
    """`test`: of the test split of the model's own data."""
    index: int = Field(0, ge=0, lt=2**32)
    """Position in the test split; 0 of others."""
    name: str = Field("", max_length=LONGEST)
    """What people call it."""
    label: int | None = None
    """The true class, where it is known."""
    rendered: str = Field("", max_length=2 * LONGEST)
    """What was done to it before the model saw it."""

    def judged(self, predict: int) -> dict[str, int]:
        """The columns `label` and `correct` of a row; none where the true class is not known."""
        return {} if self.label is None else {"label": self.label, "correct": int(predict == self.label)}


class AskedCertify(Record):
    """One image."""

    work: Literal["certify"] = "certify"
    model: str
    draws: Draws
    picture: Picture


class AskedBatch(Record):
    """Several images, each with its own certificate."""

    work: Literal["batch"] = "batch"
    model: str
    draws: Draws
    pictures: list[Picture] = Field(min_length=1, max_length=500)


class AskedAttack(Record):
    """Attacks on a certified image, at multiples of its radius."""

    work: Literal["attack"] = "attack"
    model: str
    certified: str
    """The job whose certificate is attacked."""
    draws: Draws
    picture: Picture
    target: int
    """The class that was certified."""
    radius: float = Field(gt=0)
    """The radius that was certified."""
    norm: Literal["l2", "linf"]
    """Its norm."""
    factors: list[float] = [0.5, 1.0, 1.5, 2.0, 3.0]
    """Radii of the attacks, in multiples of `radius`."""
    steps: int = Field(20, ge=1, le=200)
    """Steps of an attack."""
    noises: int = Field(16, ge=1, le=256)
    """Noisy copies at which each step looks."""
    votes: int = Field(1000, ge=50, le=100_000)
    """Fresh draws that judge what was found."""


Asked = AskedCertify | AskedBatch | AskedAttack
_ASKED: TypeAdapter[Asked] = TypeAdapter(Annotated[Asked, Field(discriminator="work")])


def read_asked(plain: dict[str, Any]) -> Asked:
    """A request from plain values; pydantic's ValidationError where it is not one."""
    return _ASKED.validate_python(plain)
