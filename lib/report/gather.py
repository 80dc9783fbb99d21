"""From the list of an experiment's certificate tables to its lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.artefact import read_provenance
from lib.report.lines import Line, read_external_line, read_line

KEYS = ("method", "noise", "certificate")
"""Names of a line; a run has a seed besides."""


def own_lines(
    spec: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], paths: Sequence[str], further: Sequence[str] = ()
) -> dict[tuple[str, ...], Line]:
    """Names of a line (`KEYS`, then those of `further`) → the line, its seeds together, in the order of `runs`.

    spec: `Study.table_spec`. runs: in the order of the certificate tables at `paths`; each table must have been made from what
    its run's `spec` says (`ArtefactError`).
    """
    groups: dict[tuple[str, ...], dict[int, Path]] = {}
    for run, path in zip(runs, paths, strict=True):
        record = read_provenance(path)
        record.require(path, format="certificate", spec={**record.spec, **run["spec"]})
        key = tuple(run[name] for name in (*KEYS, *further))
        groups.setdefault(key, {})[run["seed"]] = Path(path)
    return {key: _line(spec, *key[: len(KEYS)], tables) for key, tables in groups.items()}


def _line(spec: Mapping[str, Any], method: str, noise: str, certificate: str, tables: Mapping[int, Path]) -> Line:
    published_as, sigma = spec["published_as"][method], spec["sigmas"][noise]
    return read_line(method, noise, sigma, certificate, tables, published_as=published_as, split=spec["split"])


def foreign_lines(spec: Mapping[str, Any]) -> list[Line]:
    """The lines made elsewhere, in the order of `spec["foreign"]`, whose entries name their files."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for result in spec["foreign"]:
        groups.setdefault((result["label"], result["noise"]), {})[result["seed"]] = Path(result["path"])
    return [
        read_external_line(label, noise, spec["sigmas"][noise], tables, split=spec["split"])
        for (label, noise), tables in groups.items()
    ]
