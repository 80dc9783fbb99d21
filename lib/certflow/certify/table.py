"""The certificate table: one row per image, the field's six columns first."""

from typing import TYPE_CHECKING

import numpy as np

from certflow.certify.base import CertificateSpec, Drawn
from certflow.certify.counts import CountsError
from certflow.certify.field_table import FIELD_COLUMNS, format_time
from certflow.errors import ArtefactError

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = (
    *FIELD_COLUMNS,
    "n0",
    "n",
    "k",
    "p_lower",
    "p_upper",
    "saturated",
    "reason",
    "selected",
    "k0",
    "seconds",
)


def certificate_table(
    drawn: Drawn, certificate: CertificateSpec, seconds: np.ndarray, *, source: str | None = None
) -> "pd.DataFrame":
    """The table of one certificate, `TABLE_COLUMNS` and then whatever else the certificate adds, in the plan's order.

    seconds: float [images], both stages. Radii keep full precision; round them down when printing. `correct` is 1 where predict
    is the label, so an abstention (predict -1, radius 0) is 0. `time` is `seconds` in the field's format, H:MM:SS.ffffff. A
    certificate that chooses the class itself returns a column `selected`, which then stands in the table.

    ValueError for counts of exact noise and a certificate that does not take slack. Counts that do not fit the plan are a
    `CountsError` naming the image or, when `source` (the file they came from) is given, an `ArtefactError` naming both.
    """
    import pandas as pd

    if drawn.slack and not certificate.takes_slack:
        raise ValueError(f"certificates of kind {certificate.kind} cannot use exact noise")
    plan = drawn.plan
    try:
        planned = drawn.planned
        seconds = _checked_seconds(seconds, planned.idx)
        result = certificate.certify(drawn)
    except CountsError as error:
        if source is None:
            raise
        raise ArtefactError(f"{source}: {error}; delete it and run again") from error
    result = _checked_result(result.reset_index(drop=True), planned.classes)
    own = pd.DataFrame(
        {
            "idx": planned.idx,
            "label": planned.label,
            "correct": (result["predict"].to_numpy() == planned.label).astype(np.int64),
            "time": [format_time(value) for value in seconds],
            "n0": plan["n0"].to_numpy(np.int64),
            "n": planned.n,
            "selected": planned.selected,
            "k0": plan["k0"].to_numpy(np.int64),
            "seconds": seconds,
        }
    )
    table = own.drop(columns=[name for name in own if name in result]).join(result)
    return table[[*TABLE_COLUMNS, *(name for name in table.columns if name not in TABLE_COLUMNS)]]


def _checked_seconds(seconds: np.ndarray, idx: np.ndarray) -> np.ndarray:
    seconds = np.asarray(seconds, np.float64)
    if seconds.shape != idx.shape:
        raise CountsError(f"seconds: {list(seconds.shape)} do not fit a plan of {len(idx)} images")
    bad = ~(np.isfinite(seconds) & (seconds >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise CountsError(f"image idx {idx[row]}: took {seconds[row]} seconds")
    return seconds


def _checked_result(result: "pd.DataFrame", classes: int) -> "pd.DataFrame":
    """What a certificate returned, if it keeps the rules that every reader of the table relies on; ValueError otherwise."""
    predict, radius = result["predict"].to_numpy(), result["radius"].to_numpy()
    if not (np.isfinite(radius).all() and (radius >= 0).all()):
        raise ValueError("a certificate returned a radius that is negative or not finite")
    if ((predict < -1) | (predict >= classes)).any() or (radius[predict == -1] != 0).any():
        raise ValueError("a certificate returned a class out of range, or abstained with a radius")
    return result
