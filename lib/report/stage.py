"""Reporting as stages of the pipeline: an experiment's certificate tables to its table, figures and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.artefact import read_provenance
from lib.report.compare import PublishedCells
from lib.report.corruptions import read_corruptions
from lib.report.figures import write_figures
from lib.report.lines import Line, read_external_line, read_line
from lib.report.page import write_page
from lib.report.settings import PlotSettings
from lib.report.summary import summarise
from lib.report.tables import write_tables
from lib.report.training import read_training_log


def read_lines(spec: Mapping[str, Any], certificates: Sequence[str], foreign: Sequence[str]) -> list[Line]:
    """The lines of an experiment, ours first, seeds of a line together.

    spec: `Study.table_spec`, whose `runs` and `foreign` are in the order of the two lists of paths.
    """
    ours: dict[tuple[str, str, str], dict[int, Path]] = {}
    for run, path in zip(spec["runs"], certificates, strict=True):
        record = read_provenance(path)
        record.require(path, format="certificate", spec={**record.spec, **run["spec"]})
        ours.setdefault((run["method"], run["noise"], run["certificate"]), {})[run["seed"]] = Path(path)
    lines = [
        read_line(
            method,
            noise,
            spec["sigmas"][noise],
            certificate,
            paths,
            published_as=spec["published_as"][method],
            split=spec["split"],
        )
        for (method, noise, certificate), paths in ours.items()
    ]
    theirs: dict[tuple[str, str], dict[int, Path]] = {}
    for result, path in zip(spec["foreign"], foreign, strict=True):
        theirs.setdefault((result["label"], result["noise"]), {})[result["seed"]] = Path(path)
    return lines + [
        read_external_line(label, noise, spec["sigmas"][noise], paths, split=spec["split"])
        for (label, noise), paths in theirs.items()
    ]


def published_cells(spec: Mapping[str, Any]) -> PublishedCells | None:
    """Where the published numbers of an experiment stand, if it names any."""
    return None if spec["published"] is None else PublishedCells(**spec["published"])


def write_table(
    spec: Mapping[str, Any], certificates: Sequence[str], foreign: Sequence[str], paths: Sequence[str]
) -> None:
    """Write an experiment's table to each of `paths` (tex, md, tsv)."""
    lines = read_lines(spec, certificates, foreign)
    summary = summarise(lines, spec["radii"], published_cells(spec))
    write_tables(summary, paths, title=spec["title"], remark=spec["remark"])


def plot_figures(
    spec: Mapping[str, Any], certificates: Sequence[str], foreign: Sequence[str], paths: Sequence[str]
) -> None:
    """Draw an experiment's figures to each of `paths`. spec: `Study.figure_spec`."""
    lines = read_lines(spec, certificates, foreign)
    write_figures(lines, PlotSettings.model_validate(spec["plot"]), paths, published_cells(spec), spec["radii"])


def write_report(
    spec: Mapping[str, Any],
    certificates: Sequence[str],
    foreign: Sequence[str],
    *,
    figures: Sequence[str],
    training: Sequence[str],
    page: str,
    corruptions: str | None = None,
) -> None:
    """Write an experiment's report page, with its figures (svg or png files), training logs, and its table of corrupted
    copies (tsv), where it has one, in it."""
    lines = read_lines(spec, certificates, foreign)
    summary = summarise(lines, spec["radii"], published_cells(spec))
    logs = [read_training_log(path) for path in training]
    write_page(
        page,
        summary,
        lines,
        title=spec["title"],
        remark=spec["remark"],
        figures=figures,
        training=logs,
        corruptions=None if corruptions is None else read_corruptions(corruptions),
    )
