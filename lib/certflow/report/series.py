"""Which panel a line is drawn in, and in which colour and dash: shared by all figures, so that a method keeps its colour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from certflow.report.elsewhere import other_images, reference
from certflow.report.lines import Line
from certflow.report.names import level, noise_names
from certflow.report.style import COLOURS, DASHES


@dataclass(frozen=True)
class Series:
    """A line of results with its looks."""

    line: Line
    label: str
    colour: str
    dash: Any


@dataclass(frozen=True)
class Panel:
    """The lines that share one pair of axes. `title`: their noise level; empty where there are several."""

    title: str
    series: tuple[Series, ...]


def arrange(lines: Sequence[Line]) -> list[Panel]:
    """A panel per noise level when there are several methods, laws of noise or certificates, else one panel with all levels.

    Colour tells method and law (or the noise level, where that is all that varies), dash the certificate (or the same again,
    so that grey prints stay readable). Panels and colours follow the order of `lines`.
    """
    named = _named(lines)
    if len(set(named)) == 1:
        series = [_marked(Series(e, level(e.sigma), *_looks(i, i)), lines) for i, e in enumerate(lines)]
        return [Panel("", tuple(series))]
    shown = [(line.sigma, _marked(one, lines)) for line, one in zip(lines, _series(lines, named), strict=True)]
    levels = dict.fromkeys(sigma for sigma, _ in shown)
    return [Panel(level(sigma), tuple(one for other, one in shown if other == sigma)) for sigma in levels]


def labels(lines: Sequence[Line]) -> list[str]:
    """For each line its names that vary among `lines`, without the noise level; the method where none does."""
    named = _named(lines)
    varying = [place for place in range(3) if len({names[place] for names in named if names[place]}) > 1]
    return [", ".join(names[place] for place in varying if names[place]) or names[0] for names in named]


def _named(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """Method, law of noise (`noise_names`) and certificate of each line.

    The certificate is left out where each law has its own, so that it tells nothing more; a table from elsewhere, which does
    not name its certificate, has no other one for that.
    """
    laws = noise_names((line.noise, line.sigma, line.noise_kind) for line in lines)
    found: dict[str, set[str]] = {}
    for line in lines:
        found.setdefault(laws[line.noise], set()).update({line.certificate} - {""})
    own = len(found) > 1 and all(len(certificates) <= 1 for certificates in found.values())
    one = len(set().union(*found.values())) <= 1
    return [(line.method, laws[line.noise], "" if own or one else line.certificate) for line in lines]


def keys(shown: Sequence[Panel]) -> dict[str, Series]:
    """Label → a series with that label, in the order in which they first occur: the entries of the legend."""
    found: dict[str, Series] = {}
    for panel in shown:
        for series in panel.series:
            found.setdefault(series.label, series)
    return found


def _series(lines: Sequence[Line], named: Sequence[tuple[str, str, str]]) -> list[Series]:
    """Every line with its looks, in the order of the lines."""
    makers = list(dict.fromkeys((method, law) for method, law, _ in named))
    certificates = list(dict.fromkeys(name for _, _, name in named if name)) or [""]
    result = []
    for line, label, (method, law, certificate) in zip(lines, labels(lines), named, strict=True):
        colour, dash = makers.index((method, law)), certificates.index(certificate) if certificate else 0
        if len(makers) == 1 or len(certificates) == 1:
            colour = dash = max(colour, dash)
        result.append(Series(line, label, *_looks(colour, dash)))
    return result


def _marked(series: Series, lines: Sequence[Line]) -> Series:
    """The series, its label saying so where the images are not those of our lines."""
    others = other_images(series.line, reference(lines))
    return replace(series, label=f"{series.label} ({others})") if others else series


def _looks(colour: int, dash: int) -> tuple[str, Any]:
    return COLOURS[colour % len(COLOURS)], DASHES[dash % len(DASHES)]
