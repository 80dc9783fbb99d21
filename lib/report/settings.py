"""How an experiment's figures look. Nothing here changes a number."""

from typing import Literal

from pydantic import Field

from lib.spec import Record

Format = Literal["pdf", "svg", "png"]


class PlotSettings(Record):
    """Size, range and formats of an experiment's figures."""

    radius_max: float | None = Field(None, gt=0)
    """Right end of the radius axis, [0,1]-pixel units; None: just past the largest radius that any image reached."""
    width_inches: float = Field(6.75, ge=2, le=20)
    """Width of a figure with several panels; 6.75 is the text width of a two-column paper. One panel takes half of it."""
    height_inches: float = Field(2.5, ge=1.5, le=20)
    """Height of one row of panels, legend not counted."""
    formats: list[Format] = Field(["pdf", "svg", "png"], min_length=1)
    """File types to write; png has 300 dots per inch."""
    title: str = ""
    """Written above the panels; papers put it into the caption instead."""
