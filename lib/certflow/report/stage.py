"""Reporting as stages of the pipeline: an experiment's certificate tables to its table, figures and page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certflow.errors import ArtefactError, DataError
from certflow.kinds.spec import without
from certflow.report.attacked import Attacked, read_attacked
from certflow.report.compare import PublishedCells
from certflow.report.corruptions import read_corruptions
from certflow.report.drawn import TABLE_ALONE, drawn_from, read_figure
from certflow.report.elsewhere import require_in_split, require_same_labels, split_end
from certflow.report.figures import FIGURES, write_figures
from certflow.report.gather import foreign_lines, own_lines
from certflow.report.lines import Line
from certflow.report.own_envelope import envelopes_of
from certflow.report.page import Previewed, write_page
from certflow.report.preview import read_preview
from certflow.report.settings import PlotSettings
from certflow.report.summary import summarise
from certflow.report.tables import write_tables
from certflow.report.training import read_training_log

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (*TABLE_ALONE, "training", "strip", "corruptions", "preview")
"""What `Study.report_spec` has besides the spec of the figures: what else is shown on a page."""


def read_lines(spec: Mapping[str, Any], certificates: Sequence[str], attacks: Sequence[str] = ()) -> list[Line]:
    """The lines of an experiment, ours first, seeds of a line together.

    spec: `Study.table_spec`. Its `runs` are in the order of `certificates`, its `attacks` in that of the attack tables, and its
    `foreign` names the tables made elsewhere. `DataError` where one of those contradicts our labels, or has images that the
    split does not have.
    """
    ours, theirs = list(own_lines(spec, spec["runs"], certificates).values()), foreign_lines(spec)
    ours = _attacked(ours, spec, attacks)
    require_same_labels([*ours, *theirs])
    end = split_end(ours[0], spec["runs"][0]["spec"]["images"])
    if end is not None:
        for line in theirs:
            require_in_split(line, end)
    return [*ours, *theirs]


def _attacked(lines: Sequence[Line], spec: Mapping[str, Any], paths: Sequence[str]) -> list[Line]:
    """Our lines with what attacks left of their models."""
    found = read_attacked(spec["attacks"], paths) if paths else {}
    result = [replace(line, attacks=found.get((line.method, line.noise), ())) for line in lines]
    for line in result:
        for attack in line.attacks:
            _require_same(line, attack)
    return result


def _require_same(line: Line, attack: Attacked) -> None:
    """The attack must be on the images and the weights that the line's certificates are of."""
    if not np.array_equal(attack.idx, line.seeds[0].table["idx"].to_numpy()):
        raise DataError(
            f"{line.label}: attack {attack.attack} was made on other images; delete its table and run again"
        )
    for entry, model in zip(line.seeds, attack.models, strict=True):
        if entry.record.parents.get("model", model) != model:
            raise ArtefactError(
                f"{entry.path}: certifies other weights than attack {attack.attack} was made on; delete the older of both "
                "tables and run again"
            )


def published_cells(spec: Mapping[str, Any]) -> PublishedCells | None:
    """Where the published numbers of an experiment stand, if it names any."""
    return None if spec["published"] is None else PublishedCells(**spec["published"])


def write_table(
    spec: Mapping[str, Any], certificates: Sequence[str], paths: Sequence[str], attacks: Sequence[str] = ()
) -> None:
    """Write an experiment's table to each of `paths` (tex, md, tsv)."""
    lines = read_lines(spec, certificates, attacks)
    summary = summarise(lines, spec["radii"], published_cells(spec))
    write_tables(summary, paths, title=spec["title"], remark=spec["remark"], envelopes=_envelopes(spec, summary))


def _envelopes(spec: Mapping[str, Any], summary: "pd.DataFrame") -> "pd.DataFrame | None":
    """The best over noise levels, for experiments that ask for it."""
    return envelopes_of(summary) if spec["envelope"] else None


def plot_figures(
    spec: Mapping[str, Any], certificates: Sequence[str], paths: Sequence[str], attacks: Sequence[str] = ()
) -> None:
    """Draw an experiment's figures to each of `paths`. spec: `Study.figure_spec`."""
    lines, settings = read_lines(spec, certificates, attacks), PlotSettings.model_validate(spec["plot"])
    write_figures(lines, settings, paths, published_cells(spec), spec["radii"], spec)


def _previewed(table: str, figure: str, spec: Mapping[str, Any]) -> Previewed:
    """The estimate as a page shows it; `ArtefactError` where a file is of another specification."""
    read_figure(figure, spec)
    return Previewed(read_preview(table, spec), Path(figure))


def write_report(
    spec: Mapping[str, Any],
    certificates: Sequence[str],
    *,
    figures: Sequence[str],
    training: Sequence[str],
    page: str,
    corruptions: str | None = None,
    preview: tuple[str, str] | None = None,
    attacks: Sequence[str] = (),
) -> None:
    """Write an experiment's report page, with its figures (svg or png files), training logs, its table of corrupted copies
    (tsv) and its estimate (tsv and svg), where it has these, in it.

    spec: `Study.report_spec`, whose `training` is in the order of the logs. Whatever is shown must have been made from it.
    """
    lines = read_lines(spec, certificates, attacks)
    summary = summarise(lines, spec["radii"], published_cells(spec))
    logs = [read_training_log(path, made) for path, made in zip(training, spec["training"], strict=True)]
    drawn = without(spec, *SHOWN)
    for figure in figures:
        name = Path(figure).stem
        if name in FIGURES:
            read_figure(figure, drawn_from(name, drawn), lines)
        else:
            read_figure(figure, spec["strip"])
    write_page(
        page,
        summary,
        lines,
        title=spec["title"],
        remark=spec["remark"],
        figures=figures,
        training=logs,
        envelopes=_envelopes(spec, summary),
        corruptions=None if corruptions is None else read_corruptions(corruptions, spec["corruptions"]),
        preview=None if preview is None else _previewed(*preview, spec["preview"]),
    )
