"""How the estimate of a table is printed: every heading and the first notes say that nothing in it is certified."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from certflow.report.columns import Column, Metric, Statistic, radii_among
from certflow.report.layout import Block, Cell, Group, Row, chunks
from certflow.report.names import NORMS, level, noise_names
from certflow.report.notes import common_noise, sampling_error
from certflow.report.numbers import DASH, number, percent, significant, whole
from certflow.report.preview import ACR, ESTIMATED
from certflow.stats.estimate import REACH, SHIFT

if TYPE_CHECKING:
    import pandas as pd

TITLE = "estimated, not certified"


def preview_blocks(table: "pd.DataFrame") -> list[Block]:
    """Tabulars: estimated accuracies with the average radius first, then what they were estimated from."""
    blocks, norm = [], NORMS[table["norm"].iloc[0]]
    for i, chunk in enumerate(chunks(radii_among(table.columns, ESTIMATED))):
        metrics = ([ACR] if i == 0 else []) + [Metric(ESTIMATED, radius) for radius in chunk]
        headings = (["ACR"] if i == 0 else []) + [f"{radius:g}" for radius in chunk]
        block = _block(table, headings, lambda row, metrics=metrics: [_cell(row, metric) for metric in metrics])
        over, first = f"{TITLE}: accuracy (%) at {norm} radius", len(block.columns) - len(chunk)
        blocks.append(replace(block, over=over, over_from=first))
    price = ["draws/image", "s/image", "images", "seeds", "N estimated for", "times fewer draws"]
    return [*blocks, _block(table, price, _price)]


def _cell(row: "pd.Series", metric: Metric) -> Cell:
    value, low, high = (row[Column(metric, end)] for end in (Statistic.MEAN, Statistic.LOW, Statistic.HIGH))
    show = number if metric.radius is None else percent
    if np.isnan(value):
        return Cell(DASH, f"≤ {show(high)}")
    return Cell(show(value), f"{show(low)}–{show(high)}")


def _price(row: "pd.Series") -> list[Cell]:
    shown = (whole(row["draws"]), significant(row["seconds_per_image"]), whole(row["n_images"]), str(row["n_seeds"]))
    return [Cell(text) for text in (*shown, whole(row["n"]), whole(row["n"] / row["draws"]))]


def _block(table: "pd.DataFrame", headings: Sequence[str], cells) -> Block:
    laws = noise_names(zip(table["noise"], table["sigma"], table["noise_kind"], strict=True))
    several = any(laws.values())
    names, groups = ("method", *(("noise",) if several else ())), []
    for sigma in dict.fromkeys(table["sigma"]):
        rows = []
        for _, row in table[table["sigma"] == sigma].iterrows():
            printed = (row["method"], laws[row["noise"]])[: len(names)]
            rows.append(Row("ours", (*map(Cell, printed), *cells(row))))
        groups.append(Group(level(sigma), float(sigma), tuple(rows)))
    block = Block((*names, *headings), len(names), tuple(groups))
    return replace(block, grouped_by="level") if several else block


def preview_notes(table: "pd.DataFrame") -> list[str]:
    """What stands under the estimate, the error of the images first."""
    row, points = table.iloc[0], f"{50 * SHIFT:g}"
    known = [f"{n:,}" for n in dict.fromkeys(table["n"])]
    lines = [
        *sampling_error(table, ESTIMATED),
        f"Estimated, not certified: what N = {', '.join(known)} draws of each image at α = {row['alpha']:g} would give. It is "
        "computed from the law of the label's probability over images, which a few draws of each show. No image has a "
        "certificate here; decide by these numbers what to certify, and print those of the certificates.",
        "Small print: 95 % interval for the population that the images were taken from. It holds the errors of images and of "
        f"draws, and of what smoothing the law shifts: a standard error of {points} points at an accuracy of 50 %, and less "
        "towards 0 and 100 %.",
    ]
    if any(table[Column(Metric(ESTIMATED, radius))].isna().any() for radius in radii_among(table.columns, ESTIMATED)):
        lines.append(
            f"{DASH}: so few draws cannot tell images apart whose label is missed less often than at {REACH:g} standard "
            "deviations; accuracy is at most the number below, since it never grows with the radius."
        )
    images = "; ".join(dict.fromkeys(table["images"]))
    seeds = "; ".join(dict.fromkeys(table["seeds"]))
    lines.append(f"Images: {images}. Training seeds: {seeds}.")
    return [*lines, *common_noise(len(table))]
