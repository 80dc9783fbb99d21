"""One look for all figures: colours that colour-blind readers can tell apart, embedded fonts, the same bytes on every run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from certflow.files.artefact import write_pictures
from certflow.files.provenance import Provenance
from certflow.report.settings import PlotSettings

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")
"""Okabe and Ito 2008 without yellow, which is too faint for lines on white; brown as the eighth."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)), (0, (3, 1, 1, 1, 1, 1)))
"""Line styles, so that lines can be distinguished in grey print too."""

INK = "#262626"
FAINT = "#D9D9D9"
TITLE_SIZE = 9
"""Points of a figure's title."""

RC: "dict[RcKeyType, Any]" = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.25,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "mathtext.fontset": "dejavusans",
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "certflow",
    "savefig.dpi": 300,
}
"""Settings of matplotlib; fonts are embedded as TrueType, as conferences ask. Dollar signs are what a user has typed, not the
beginning of a formula: our own text that is one says `parse_math=True`."""

METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
"""What is left out of a file so that equal figures have equal bytes."""


@contextmanager
def look() -> Iterator[None]:
    """Within this context matplotlib draws in our style, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def save(figure: Figure, paths: Sequence[str | Path], provenance: Provenance) -> None:
    """Write a figure as pdf, svg or png by the endings of `paths`, which have the same name, and one record beside them.

    Equal figures give equal bytes.
    """
    write_pictures(paths, [rendered(figure, Path(path).suffix.removeprefix(".")) for path in paths], provenance)


def rendered(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure as pdf, svg or png; anything else is a ValueError."""
    if kind not in METADATA:
        raise ValueError(f"figures are written as {', '.join(METADATA)}, not {kind!r}")
    buffer = BytesIO()
    with look():
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    return buffer.getvalue()


def panels(count: int, settings: PlotSettings, ylabel: str = "", *, sharey: bool = True) -> tuple[Figure, list[Any]]:
    """A figure with the settings' title and `count` panels, at most three in a row, and its axes.

    One panel takes half the width. ylabel: written at the left of each row.
    """
    columns = count if count <= 3 else (2 if count == 4 else 3)
    rows = -(-count // columns)
    width, height = settings.width_inches, settings.height_inches
    # Room between panels: the last number of one axis must not run into the first of the next.
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.02)
    figure = Figure(figsize=(width / 2 if count == 1 else width, height * rows), layout=layout)
    figure.suptitle(settings.title, fontsize=TITLE_SIZE)
    axes = figure.subplots(rows, columns, sharey=sharey, squeeze=False)
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    for spare in axes.flat[count:]:
        spare.remove()
    return figure, list(axes.flat[:count])


def coloured(names: Iterable[str]) -> dict[str, str]:
    """Each name once, in its order, with its colour; after eight they come round again."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def logarithmic_ticks(axis: Axis, show: Callable[[float], str]) -> None:
    """Plain numbers on a logarithmic axis: 1, 2 and 5 of each power of ten where less than two decades are shown."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axis.set_minor_formatter(NullFormatter())


LEGEND_ROW, LEGEND_MARGIN = 0.148, 0.04
"""Inches that a row of a legend takes in its size of type, and what is around all rows."""


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend below all panels, never over data, with as many columns as fit the figure's width.

    It makes the figure higher: panels keep the height that was asked for, however many names there are.
    """
    inches = 0.47 + 0.057 * max(map(len, labels))
    width, height = figure.get_size_inches()
    columns = max(1, min(len(labels), int(width / inches)))
    rows = -(-len(labels) // columns)
    figure.set_size_inches(width, height + LEGEND_ROW * rows + LEGEND_MARGIN)
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=-(-len(labels) // rows),
        handlelength=2.4,
        columnspacing=1.6,
        borderaxespad=0.1,
        borderpad=0.2,
    )
