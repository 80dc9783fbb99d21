"""The table of corrupted copies: a row per corruption and their mean, for every line of an experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.files.artefact import read_table, write_table
from certflow.files.provenance import Provenance
from certflow.report.columns import Metric, metrics, radii_among, typed
from certflow.report.decided import asked_notes
from certflow.report.drawn import tables_of
from certflow.report.gather import KEYS
from certflow.report.layout import Block, Field, Group, chunks, line_rows, radius_fields
from certflow.report.names import NORMS, level, noise_names
from certflow.report.notes import common_noise, sampling_error
from certflow.report.numbers import counted, number, percent
from certflow.report.robustness import CLEAN, MEAN, read_robustness, summarise_corruptions
from certflow.report.tables import write_each

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "corruptions table"


def write_corruptions(
    spec: Mapping[str, Any], certificates: Sequence[str], copies: Sequence[str], paths: Sequence[str | Path]
) -> None:
    """Write the table of an experiment's corrupted copies to each of `paths` (tex, md, tsv).

    spec: `Study.corruption_table_spec`, whose `runs` and `copies` are in the order of the two lists of certificate tables.
    """
    found = read_robustness(spec, certificates, copies)
    summary = summarise_corruptions(found, spec)
    lines = [line for one in found for line in (one.clean, *one.copies.values())]
    record = Provenance(format=FORMAT, spec=spec, parents=tables_of(lines))
    title = f"{spec['title']}, corrupted copies of the images"
    shown, footnotes = corruption_blocks(summary), notes(summary)
    write_each(paths, lambda path: write_table(path, summary, record), shown, footnotes, title, "-corrupted")


def corruption_blocks(summary: "pd.DataFrame") -> list[Block]:
    """Tabulars with a group per line: clean images, corruptions, their mean, and the mean at each of several severities.

    An entry of one corruption has no mean: its severities are shown instead.
    """
    averaged = set(summary.loc[summary["corruption"] == MEAN, "entry"])
    shown = summary[(summary["severity"] == 0) | (summary["corruption"] == MEAN) | ~summary["entry"].isin(averaged)]
    entries = summary.loc[summary["entry"] != "", "entry"].nunique()
    certificates = summary["certificate"].nunique()
    shown = shown.assign(label=[_label(row, entries > 1) for row in shown.itertuples()])
    laws = noise_names(zip(summary["noise"], summary["sigma"], summary["noise_kind"], strict=True))
    blocks = []
    for i, chunk in enumerate(chunks(radii_among(summary.columns))):
        scalars = (
            [Field("ACR", Metric("acr"), number), Field("clean (%)", Metric("clean_accuracy"), percent)]
            if i == 0
            else []
        )
        fields = [*scalars, *radius_fields(chunk)]
        groups = []
        for (method, noise, certificate), part in shown.groupby(list(KEYS), sort=False):
            sigma = float(part["sigma"].iloc[0])
            parts = [method, laws[noise], level(sigma), certificate if certificates > 1 else ""]
            title = ", ".join(part for part in parts if part)
            rows = [cells for _, row in part.iterrows() for cells in line_rows(row, fields, ["label"], set())]
            groups.append(Group(title, sigma, tuple(rows)))
        columns = ("images", *(field.heading for field in fields))
        over = f"certified accuracy (%) at {NORMS[summary['norm'].iloc[0]]} radius"
        blocks.append(Block(columns, 1, tuple(groups), over, len(columns) - len(chunk), grouped_by="line"))
    return blocks


def _label(row: Any, several: bool) -> str:
    name = row.corruption.replace("_", " ") + (f" ({row.entry})" if several and row.entry else "")
    return f"{name}, severity {row.severity}" if row.severity else name


def notes(summary: "pd.DataFrame") -> list[str]:
    """What stands under the table."""
    copies = summary[(summary["entry"] != "") & (summary["severity"] == 0)]
    lines = sampling_error(summary[summary["corruption"] == CLEAN])
    for (entry, severities, total), part in copies.groupby(["entry", "severities", "n_images"], sort=False):
        names = part.loc[part["corruption"] != MEAN, "corruption"].nunique()
        graded = f" at severities {severities.replace(' ', ', ')}" if len(severities.split()) > 1 else ""
        mean = "; the mean over corruptions is unweighted" if (part["corruption"] == MEAN).any() else ""
        lines.append(f"{entry}: {counted(names, 'corruption')}{graded}, {total} copies of each{mean}.")
    lines.append(
        "The smoothed classifiers were trained on clean images. Certified accuracy and ACR are those of the copies, within "
        "balls around the copies; abstentions count as errors. Small print: 95 % bootstrap interval over images, each with all "
        "its copies."
    )
    for alpha in summary["alpha"].dropna().unique():
        chance = (
            f"is wrong with probability at most α = {alpha:g}"
            if alpha
            else "of α = 0 rests on every outcome of the noise"
        )
        lines.append(f"Each radius {chance}.")
    lines += asked_notes(summary)
    lines += common_noise(len(summary))
    known = summary[summary["published_source"] != ""]
    facts = ["published_source", "published_n_images", "comparison"]
    for (source, images, comparison), part in known[known["severity"] == 0].groupby(facts):
        ours = ", ".join(f"{n}" for n in sorted(part["n_images"].unique()))
        more = f"; {comparison}" if comparison else ""
        lines.append(f"Published numbers: {source}, {images:.0f} copies of each corruption (ours: {ours}){more}.")
    return lines


def read_corruptions(path: str | Path, spec: Mapping[str, Any]) -> "pd.DataFrame":
    """A table written by `write_corruptions` as tsv; `ArtefactError` if it is of another `Study.corruption_table_spec`."""
    return typed(read_table(path, format=FORMAT, spec=spec)[0], metrics(spec["radii"]))
