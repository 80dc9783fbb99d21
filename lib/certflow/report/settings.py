"""How an experiment's figures look. Nothing here changes a number."""

from pydantic import Field

from certflow.kinds.spec import Record


class PlotSettings(Record):
    """Size, range and title of an experiment's figures. All are written as pdf, svg and png (300 dots per inch)."""

    radius_max: float | None = Field(None, gt=0)
    """Right end of the radius axis, [0,1]-pixel units; None: just past the largest radius that any image reached."""
    width_inches: float = Field(6.75, ge=2, le=20)
    """Width of a figure with several panels; 6.75 is the text width of a two-column paper. One panel takes half of it."""
    height_inches: float = Field(2.5, ge=1.5, le=20)
    """Height of one row of panels, legend not counted."""
    title: str = ""
    """Written above the panels; papers put it into the caption instead."""
