"""Where the files behind a certificate table lie, and with which of them to begin again when its settings have changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certflow.files import results
from certflow.files.provenance import Provenance, differences
from certflow.kinds.spec import canonical_json, without

STAGES = {
    "certificates": "certificate table",
    "sample": "counts",
    "plan": "plan",
    "presample": "stage-1 counts",
    "train": "model",
    "data": "images",
}
"""Folder of a stage below `results` → what it makes, from the last to the first."""
FORMS = {
    "certificates": results.CERTIFICATE,
    "sample": results.COUNTED,
    "plan": results.PLAN,
    "presample": results.FIRST_COUNTS,
    "train": results.WEIGHTS,
    "data": results.DATA,
}
"""Folder of a stage → form of the path of what it makes."""
FIRST = {
    "certificate": "certificates",
    "sampler": "plan",
    "presample": "presample",
    "images": "presample",
    "engine": "presample",
}
"""Setting → folder of the first stage that depends on it. The dataset's are those of `data`, all others those of `train`."""


def chain_paths(certificate: str | Path) -> dict[str, Path]:
    """Where the files behind a certificate table lie: folder of the stage → path, the table's own included.

    Empty for a path of another form. The folder `results` may have another name.
    """
    found = {stage: results.beside(certificate, results.CERTIFICATE, form) for stage, form in FORMS.items()}
    return {stage: path for stage, path in found.items() if path is not None}


def refusals(path: str | Path, record: Provenance, wanted: Mapping[str, Any]) -> tuple[list[str], Path | None]:
    """How a certificate table's settings differ from those wanted (`Study.certificate_spec`), and the file to begin with again.

    No lines where nothing differs."""
    if canonical_json(record.spec) == canonical_json(wanted):
        return [], None
    return differences(record.spec, wanted), chain_paths(path).get(first_stage(record.spec, wanted))


def first_stage(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Folder of the earliest stage that depends on a setting in which two specifications differ."""
    changed = {key for key in {*found, *wanted} if found.get(key) != wanted.get(key)}
    stages = {_stage(key, found.get(key), wanted.get(key)) for key in changed}
    return next(stage for stage in reversed(STAGES) if stage in stages)


def _stage(key: str, found: Any, wanted: Any) -> str:
    if key == "model" and isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return "presample" if without(found, "inference") == without(wanted, "inference") else "train"
    return "data" if key == "dataset" else FIRST.get(key, "train")
