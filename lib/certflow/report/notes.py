"""What stands under a table: the statistical guarantee, the images, the intervals, the published sources. Plain sentences."""

from typing import TYPE_CHECKING

import numpy as np

from certflow.report.columns import CERTIFIED, Metric, attacks_among, shares_among
from certflow.report.decided import decided_notes
from certflow.report.metrics import Z95
from certflow.report.numbers import counted, up
from certflow.report.whose import at_level, laws_of, whose

if TYPE_CHECKING:
    import pandas as pd

CLEAN = str(Metric("clean_accuracy"))


def notes(summary: "pd.DataFrame", remark: str = "") -> list[str]:
    """All footnotes of a summary's table, as plain text with Unicode signs."""
    first, *others = table_notes(summary)
    return [first, *([remark] if remark else []), *others, *guarantees(summary), *published_notes(summary)]


def table_notes(summary: "pd.DataFrame") -> list[str]:
    """The error of the images first; then what the printed numbers are, and which images they were measured on."""
    shared = common_noise(int((~summary["external"]).sum()))
    images = [*_images(summary), *shared, *_external(summary), *_other_images(summary)]
    decided = decided_notes(summary)
    return [*sampling_error(summary), *warnings(summary), _intervals(summary), *decided, *_attacks(summary), *images]


def sampling_error(table: "pd.DataFrame", name: str = CERTIFIED) -> list[str]:
    """One line: how far the choice of images alone can move the accuracies of that name, with certified ones also the clean
    accuracy and those under attack.

    The largest half-width of a 95 % interval, 1.96 sqrt(p (1 - p) / m), or 3 / m where p is 0 or 1 (Hanley, Lippman-Hand
    1983), in points; at most 100, since shares differ by no more.
    """
    found: dict[int, float] = {}
    counts = table["n_images"].to_numpy(np.int64)
    printed: list[str] = [*shares_among(table.columns, name)]
    if name == CERTIFIED:
        printed += [column for column in (CLEAN,) if column in table]
        printed += [column for by_radius in attacks_among(table.columns).values() for column in by_radius.values()]
    for images in dict.fromkeys(counts.tolist()):
        p = table.loc[counts == images, printed].to_numpy(np.float64)
        p = p[np.isfinite(p)]
        half = np.where((p > 0) & (p < 1), Z95 * np.sqrt(np.clip(p * (1 - p), 0, None) / images), 3 / images)
        found[images] = float(min(np.max(half, initial=0.0), 1.0))
    listed = [f"{up(100 * half, 1)} points with {counted(images, 'image')}" for images, half in found.items()]
    return [f"Error of the choice of images, however many draws each gets: up to ±{', ±'.join(listed)} (95 %)."]


def warnings(summary: "pd.DataFrame") -> list[str]:
    """What was found wrong with imported and trained models: a line for each warning, with the methods that it is about."""
    found = summary[summary["warnings"] != ""]
    return [
        f"Warning about the model of {', '.join(map(at_level, part.itertuples()))}: {text}."
        for text, part in found.drop_duplicates(["method", "sigma", "warnings"]).groupby("warnings", sort=False)
    ]


def guarantees(summary: "pd.DataFrame") -> list[str]:
    """How many of the claims may be wrong, for every combination of number of claims and alpha that occurs."""
    known = summary[summary["alpha"].notna()]
    claims = ["alpha", "n_images", "n_seeds"]
    drawn, counted = known[known["alpha"] > 0], known[known["alpha"] == 0]
    said = [_guarantee(part, summary) for _, part in drawn.groupby(claims, sort=False)]
    return [*said, *_deterministic(counted, summary), *_drawn(summary)]


def published_notes(summary: "pd.DataFrame") -> list[str]:
    """Sources of the published numbers, and what differs between theirs and ours."""
    found = summary[summary["published_source"] != ""]
    result = []
    for (source, comparison), part in found.groupby(["published_source", "comparison"], sort=False):
        cells = whose(part, summary, at_level)
        result.append(f"Published numbers{f' for {cells}' if cells else ''}: {source}; {comparison}.")
    return [*result, *_reduced(found), *_rounded(found), *_paired(summary)]


def _reduced(found: "pd.DataFrame") -> list[str]:
    """Why differences to published numbers on the same images have no standard error."""
    if not found["published_same_images"].any():
        return []
    return [
        "Only means are known of the published results on the same images, so these differences have no standard error; with "
        "the source's per-image tables (`foreign`, `beside`) they are computed image by image."
    ]


def _paired(summary: "pd.DataFrame") -> list[str]:
    """What the differences image by image are, and over which images."""
    listed = []
    for row in summary[summary["paired_with"] != ""].itertuples():
        images = f"over {counted(int(row.paired_images), 'image')}" if row.paired_images else "no image is in both"
        listed.append(f"{at_level(row)} − {row.paired_with}, {images}")
    if not listed:
        return []
    return [
        f"Differences by image: {'; '.join(dict.fromkeys(listed))}. Each is the mean over the images that both "
        "tables contain; below it is its standard error over these images, without what another training seed would change."
    ]


def _rounded(found: "pd.DataFrame") -> list[str]:
    """What rounding adds to published numbers, and to which. found: rows that have published numbers."""
    listed = []
    for digits, part in found.groupby("published_digits"):
        sources = "" if len(part) == len(found) else f" of {', '.join(dict.fromkeys(part['published_source']))}"
        listed.append(
            f"Published radii{sources} were rounded to {digits:.0f} digits before counting, which can only add to certified "
            "accuracies (up to 0.3 points at three digits)."
        )
    return listed


def _deterministic(part: "pd.DataFrame", summary: "pd.DataFrame") -> list[str]:
    """What rows claim whose certificates have no probability of error."""
    if not len(part):
        return []
    who = laws_of(part, summary)
    return [
        f"Deterministic{f' ({who})' if who else ''}: every outcome of the noise was counted; radii hold for 8-bit images "
        "at the network's input size, with no probability involved. The outcomes were classified on the recorded device in "
        "the recorded precision."
    ]


def _guarantee(part: "pd.DataFrame", summary: "pd.DataFrame") -> str:
    """One sentence for rows with the same alpha and the same number of claims."""
    row = part.iloc[0]
    images, seeds, alpha, q = int(row["n_images"]), int(row["n_seeds"]), row["alpha"], row["failures_quantile"]
    trials = images * seeds
    claims = counted(images, "image") + ("" if seeds == 1 else f" × {seeds} seeds")
    who = laws_of(part, summary) if (summary["alpha"] == 0).any() else ""
    text = (
        f"Each radius{f' of {who}' if who else ''} is wrong with probability at most α = {alpha:g}: expected number of "
        f"false claims ≤ α·m = {alpha * trials:g} among m = {claims}"
    )
    points = float(up(100 * q / trials, 2))
    return (
        f"{text}, and more than {q:.0f} with probability at most {row['rho']:g} (binomial). With probability at least "
        f"{1 - row['rho']:g} the true certified accuracy on these images is at least the one found (unrounded) minus "
        f"{points:g} points."
    )


def _drawn(summary: "pd.DataFrame") -> list[str]:
    """How the noise was drawn, and what that means for the guarantee; nothing of noise all of whose outcomes were counted."""
    lines, drawn = [], summary[(summary["noise_says"] != "") & (summary["alpha"] != 0)]
    for said, part in drawn.groupby("noise_says", sort=False):
        lines_meant = laws_of(part, summary)
        lines.append(f"Noise{f' of {lines_meant}' if lines_meant else ''}: {said}.")
    return lines


def _intervals(summary: "pd.DataFrame") -> str:
    row = summary.iloc[0]
    text = (
        "Certified accuracy: share of all images that are classified right and proven robust; abstentions count as errors. "
        f"ACR: average certified radius. Small print: {100 * row['level']:g} % bootstrap interval over images "
        f"({int(row['resamples'])} resamples)"
    )
    return text + ("; ± standard deviation over training seeds." if (summary["n_seeds"] > 1).any() else ".")


def _attacks(summary: "pd.DataFrame") -> list[str]:
    """How to read accuracies under attack."""
    if not attacks_among(summary.columns):
        return []
    return [
        "Accuracy under attack is the share of images for which the attack showed no wrong class within the radius: an upper "
        "bound of the true robust accuracy. Here abstentions count as right."
    ]


def _images(summary: "pd.DataFrame") -> list[str]:
    groups = summary.groupby("images", sort=False)
    ours = summary[~summary["external"]]
    parts = []
    for images, part in groups:
        lines_meant = whose(part, summary)
        parts.append(f"{images}{f' for {lines_meant}' if lines_meant else ''}")
    text = f"Images: {'; '.join(parts)}."
    draws = dict.fromkeys(
        f"n0 = {int(row.n0):,} and N {'≤' if row.samples_vary else '='} {int(row.n):,}"
        for row in ours[ours["n"].notna()].itertuples()
    )
    if draws:
        text += f" Draws per image: {'; '.join(draws)}."
    seeds = dict.fromkeys(ours["seeds"])
    if seeds:
        text += f" Training seeds: {'; '.join(seeds)}."
    return [text]


def common_noise(rows: int) -> list[str]:
    """That the rows made here are not independent of each other, if there are several."""
    if rows < 2:
        return []
    return [
        "Rows of one training seed were evaluated on the same noise (common random numbers): chance moves them together, so "
        "their differences vary less than the intervals suggest. Compare rows image by image; a claim about all rows at once "
        "needs a union bound."
    ]


def _external(summary: "pd.DataFrame") -> list[str]:
    names = dict.fromkeys(summary.loc[summary["external"], "method"])
    if not names:
        return []
    return [
        f"Made elsewhere: {', '.join(names)}; radii as written there (often rounded to three digits); "
        "α and number of draws not stated."
    ]


def _other_images(summary: "pd.DataFrame") -> list[str]:
    """Rows whose rates cannot be compared with the others', and how many images they share with ours."""
    rows = summary[summary["other_images"] != ""]
    if not len(rows):
        return []
    listed = []
    for row in rows.itertuples():
        ours = "all of them" if row.shared_images == row.n_images else f"{row.shared_images:,} of them"
        listed.append(f"{at_level(row)} ({counted(row.n_images, 'image')}, {ours} among ours)")
    count = counted(int(summary.loc[summary["other_images"] == "", "n_images"].iloc[0]), "image")
    return [
        f"Not on our {count}, so the rates cannot be compared: {'; '.join(dict.fromkeys(listed))}. These rows are "
        "never in bold; bold marks the best of the others. A file with fewer images may be incomplete."
    ]
