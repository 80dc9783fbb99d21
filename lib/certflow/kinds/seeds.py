"""What a seed may be: two different ones never stand for the same draws."""

from typing import Annotated

from pydantic import Field

DRAWS, TRAININGS = 2**64, 2**32
"""Seeds lie below these: a key of Philox has 64 bits; of the seed of its generator on a CPU torch takes the lower 32."""

Seed = Annotated[int, Field(ge=0, lt=DRAWS)]
"""Of draws alone."""
TrainingSeed = Annotated[int, Field(ge=0, lt=TRAININGS)]
"""Also of initial weights and dropout."""
