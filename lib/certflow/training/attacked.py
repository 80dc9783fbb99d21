"""What methods that train on adversarial examples have in common: the attack's radius and its warm-up."""

from pydantic import Field

from certflow.training.base import MethodSpec


class AttackedSpec(MethodSpec):
    """Adds the keys of an attack in a ball whose radius grows over the first epochs."""

    eps256: float = Field(256.0, ge=0)
    """l2 radius in 1/256 of the pixel range, the unit of the field's code (papers write 255): 256 is a radius of 1."""
    steps: int = Field(10, ge=1, le=1000)
    """Steps of the attack (T), of 2ε/T each with PGD."""
    warmup: int = Field(10, ge=1)
    """Epochs over which the radius grows linearly; 1: none."""

    @property
    def cost(self) -> float:
        """Each noisy copy is attacked, then learnt from."""
        return self.noises * (1 + 2 * self.steps / 3)

    def epsilon(self, epoch: int) -> float:
        """The radius in an epoch (from 0), [0,1]-pixel units: ε·min(1, (epoch + 1)/warmup)."""
        return self.eps256 / 256 * min(1.0, (epoch + 1) / self.warmup)
