"""From the list of an experiment's certificate tables to its lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certflow.errors import ArtefactError
from certflow.files.artefact import read_provenance
from certflow.report.chain import refusals
from certflow.report.lines import Line, read_external_line, read_line

KEYS = ("method", "noise", "certificate")
"""Names of a line; a run has a seed besides."""


def own_lines(
    spec: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], paths: Sequence[str], further: Sequence[str] = ()
) -> dict[tuple[str, ...], Line]:
    """Names of a line (`KEYS`, then those of `further`) → the line, its seeds together, in the order of `runs`.

    spec: `Study.table_spec`. runs: in the order of the certificate tables at `paths`; each table must have been made from what
    its run's `spec` says, all of it (`ArtefactError`).
    """
    require_wanted(runs, paths)
    groups: dict[tuple[str, ...], dict[int, Path]] = {}
    for run, path in zip(runs, paths, strict=True):
        key = tuple(run[name] for name in (*KEYS, *further))
        groups.setdefault(key, {})[run["seed"]] = Path(path)
    return {key: _line(spec, *key[: len(KEYS)], tables) for key, tables in groups.items()}


def require_wanted(runs: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> None:
    """`ArtefactError` unless every certificate table is what its run asks for; names each, what differs, and the remedy."""
    lines, begin = [], {}
    for run, path in zip(runs, paths, strict=True):
        record = read_provenance(path).require(path, format="certificate")
        changes, first = refusals(path, record, run["spec"])
        if changes:
            lines.append(f"{path}: was made from another spec ({'; '.join(changes)})")
            begin |= {str(first or path): None}
    if lines:
        raise ArtefactError(
            "\n".join([*lines, f"run again with --forcerun {' '.join(begin)}, or give what was changed another name"])
        )


def _line(spec: Mapping[str, Any], method: str, noise: str, certificate: str, tables: Mapping[int, Path]) -> Line:
    published_as, sigma = spec["published_as"][method][noise], spec["sigmas"][noise]
    return read_line(method, noise, sigma, certificate, tables, published_as=published_as, split=spec["split"])


def foreign_lines(spec: Mapping[str, Any]) -> list[Line]:
    """The lines made elsewhere, one for each entry of `spec["foreign"]`, which names its files."""
    return [
        read_external_line(
            result["label"],
            result["noise"],
            spec["sigmas"][result["noise"]],
            [table["path"] for table in result["tables"]],
            norm=result["norm"],
            split=spec["split"],
            beside=result["beside"] or "",
        )
        for result in spec["foreign"]
    ]
