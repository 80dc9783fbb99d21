"""Which panel a line is drawn in, and in which colour and dash: shared by all figures, so that a method keeps its colour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from certflow.report.elsewhere import other_images, reference
from certflow.report.lines import Line
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
    """The lines that share one pair of axes. `title` is empty when there is only one panel."""

    title: str
    series: tuple[Series, ...]


def arrange(lines: Sequence[Line]) -> list[Panel]:
    """A panel per noise level when there are several methods or certificates, else one panel with all noise levels.

    Colour tells the method (or the noise level, where that is all that varies), dash the certificate (or the same again, so
    that grey prints stay readable). Panels and colours follow the order of `lines`.
    """
    methods, noises = _names(lines, "method"), _names(lines, "noise")
    # A table from elsewhere does not name its certificate: that does not make it another certificate.
    certificates = [name for name in _names(lines, "certificate") if name] or [""]
    if len(methods) == 1 and len(certificates) == 1:
        series = [_marked(Series(e, sigma_text(e), *_looks(i, i)), lines) for i, e in enumerate(lines)]
        return [Panel("", tuple(series))]
    result = []
    for noise in noises:
        chosen = [line for line in lines if line.noise == noise]
        series = [_marked(_one(line, methods, certificates), lines) for line in chosen]
        result.append(Panel(sigma_text(chosen[0]) if len(noises) > 1 else "", tuple(series)))
    return result


def keys(shown: Sequence[Panel]) -> dict[str, Series]:
    """Label → a series with that label, in the order in which they first occur: the entries of the legend."""
    found: dict[str, Series] = {}
    for panel in shown:
        for series in panel.series:
            found.setdefault(series.label, series)
    return found


def sigma_text(line: Line) -> str:
    """The noise level as panels and legends print it."""
    return f"σ = {line.sigma:g}"


def _one(line: Line, methods: list[str], certificates: list[str]) -> Series:
    method = methods.index(line.method)
    certificate = certificates.index(line.certificate) if line.certificate else 0
    if len(certificates) == 1:
        return Series(line, line.method, *_looks(method, method))
    if len(methods) == 1:
        return Series(line, line.certificate or line.method, *_looks(certificate, certificate))
    label = f"{line.method}, {line.certificate}" if line.certificate else line.method
    return Series(line, label, *_looks(method, certificate))


def _marked(series: Series, lines: Sequence[Line]) -> Series:
    """The series, its label saying so where the images are not those of our lines."""
    others = other_images(series.line, reference(lines))
    return replace(series, label=f"{series.label} ({others})") if others else series


def _looks(colour: int, dash: int) -> tuple[str, Any]:
    return COLOURS[colour % len(COLOURS)], DASHES[dash % len(DASHES)]


def _names(lines: Sequence[Line], field: str) -> list[str]:
    return list(dict.fromkeys(getattr(line, field) for line in lines))
