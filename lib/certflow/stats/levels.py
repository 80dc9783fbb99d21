"""The levels of error that an entry may ask for."""

from typing import Annotated

from pydantic import Field

from certflow.stats.limits import LEAST_ALPHA

Alpha = Annotated[float, Field(ge=LEAST_ALPHA, lt=0.5)]
"""Probability that a statement about an image errs: below a half, and not so small that no bound is verified for it."""
