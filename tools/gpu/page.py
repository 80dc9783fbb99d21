"""The fragment of docs/performance.md that the numbers of a run make."""

from collections.abc import Mapping
from typing import Any

from benchmarks import splitting
from benchmarks.field import table
from benchmarks.sampling import COLUMNS
from tools.gpu.running import Record


def page(records: Mapping[str, Record], device: str) -> str:
    """Markdown: what it was measured on, then every table for which there are numbers, then how each step ended."""
    numbers = {name: record["numbers"] for name, record in records.items() if record["numbers"]}
    parts = [
        _facts(records, numbers, device),
        _sampling(numbers),
        _splitting(numbers),
        _table_cost(numbers),
        _training(numbers),
        _steps(records),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(records: Mapping[str, Record], numbers: Mapping[str, Any], device: str) -> str:
    machine = next((found["machine"] for found in numbers.values() if "machine" in found), {})
    measured = ", ".join(f"{key} {value}" for key, value in machine.items()) or "not known"
    commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(record["commit"] for record in records.values()))
    toy = " Toy sizes: these numbers say that the script runs, nothing else." if device == "cpu" else ""
    return f"Measured by `tools/gpu.sh` on: {measured}; commit {commits}.{toy}"


def _sampling(numbers: Mapping[str, Any]) -> str:
    """The ladder, as the benchmark prints it; below it the same without graphs."""
    ladder = {name: found["rows"] for name, found in numbers.items() if name.startswith("sampling-")}
    parts = []
    for without, title in ((False, "Sampling against the field's loop:"), (True, "The same kernel by kernel:")):
        rows = [row for name, found in ladder.items() if name.endswith("-without-graphs") == without for row in found]
        parts += [f"{title}\n\n{table(COLUMNS, rows)}"] if rows else []
    return "\n\n".join(parts)


def _splitting(numbers: Mapping[str, Any]) -> str:
    """The rows that the benchmark prints."""
    found = numbers.get("splitting")
    return "" if found is None else f"All outcomes of splitting noise:\n\n{table(splitting.COLUMNS, found['rows'])}"


def _table_cost(numbers: Mapping[str, Any]) -> str:
    found = numbers.get("table-cost")
    if found is None:
        return ""
    return "\n".join(
        f"A table of {row['images']} images, {row['network']} in {row['precision']} at σ = {row['sigma']:g}: the field's loop "
        f"at N = {row['draws']:,} takes {row['field_seconds']:.0f} s, `decide` {row['seconds']:.2f} s with "
        f"{row['mean_draws']:,.0f} draws an image, {row['ratio']:.0f} times less; at most {100 * row['lost']:.1f} points of "
        "certified accuracy are lost."
        for row in found["rows"]
    )


def _training(numbers: Mapping[str, Any]) -> str:
    """A row per network or method and precision."""
    found = {
        (what, precision): (entry["field_images_per_second"], entry[precision])
        for name in ("training-networks", "training-methods")
        for group in ("cases", "methods")
        for what, entry in numbers.get(name, {}).get(group, {}).items()
        for precision in entry
        if precision != "field_images_per_second"
    }
    if not found:
        return ""
    lines = ["| training | precision | field, images/s | ours, images/s | ratio |", "|---|---|--:|--:|--:|"]
    lines += [
        f"| {what} | {precision} | {field:.0f} | {ours['images_per_second']:.0f} | {ours['ratio_min']:.2f} |"
        for (what, precision), (field, ours) in found.items()
    ]
    return "\n".join(lines)


def _steps(records: Mapping[str, Record]) -> str:
    """How each step ended, with the last line of those that gave no numbers."""
    lines = ["| step | | seconds | |", "|---|---|--:|---|"]
    for name, record in records.items():
        said = "" if record["numbers"] else record["last_line"].replace("|", "/").strip()[:100]
        lines.append(f"| {name} | {record['status']} | {record['seconds']:.0f} | {said} |")
    return "\n".join(lines)
