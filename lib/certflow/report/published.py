"""Published numbers of the methods, which are data: `data/published/*.csv` in this folder."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from certflow.errors import DataError
from certflow.files.contents import content
from certflow.files.intact import DAMAGE
from certflow.kinds.spec import digest
from certflow.report.names import NORMS

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).resolve().parent / "data" / "published"
COLUMNS = (
    "source", "dataset", "arch", "method", "noise", "norm", "sigma", "images", "n_images", "certificate", "n", "alpha",
    "digits", "metric", "radius", "value",
)  # fmt: skip
"""Columns of a file."""
NUMBERS = ("sigma", "n_images", "n", "alpha", "digits", "radius", "value")
TOLERANCE = 1e-9
"""Two noise levels closer than this are the same."""

SAME_ARCH = {"cifar100_resnet110": "cifar_resnet110"}
"""Names in published results that mean an architecture of another name: the same network with 100 outputs."""


def published(dataset: str, arch: str | None, method: str, noise: str, norm: str, sigma: float) -> "pd.DataFrame":
    """Published numbers of a method: the columns `COLUMNS`.

    `dataset`, `arch` (None: any) and `method` as the files name them, where a method may carry `@` and settings
    that deviate; `cifar_resnet110` also finds the same network with 100 outputs. noise: kind of the noise that was certified
    under; norm: of the radii; sigma in [0,1]-pixel units. An empty table where nothing is known, which means nothing: the
    collection is not complete.
    """
    table = _published()
    rows = (table["dataset"] == dataset) & (table["method"] == method)
    rows &= (table["noise"] == noise) & (table["norm"] == norm) & ((table["sigma"] - sigma).abs() < TOLERANCE)
    if arch is not None:
        rows &= table["arch"].replace(SAME_ARCH) == SAME_ARCH.get(arch, arch)
    return table[rows].reset_index(drop=True)


def published_datasets() -> tuple[str, ...]:
    """Names of the datasets of which published numbers are known."""
    return tuple(sorted({dataset for dataset, _ in _cells()}))


def published_archs(dataset: str) -> tuple[str, ...]:
    """Names of the architectures that `published` knows for one of `published_datasets`, sorted."""
    found = {arch for known, arch in _cells() if known == dataset}
    return tuple(sorted(found | {other for arch, other in SAME_ARCH.items() if arch in found}))


def numbers_digest() -> str:
    """SHA-256 (hex) of all published numbers: with others a table is another one."""
    return digest([content(path) for path in _paths()])


@cache
def _cells() -> frozenset[tuple[str, str]]:
    """Dataset and architecture of all rows there are."""
    return frozenset((row["dataset"], row["arch"]) for path in _paths() for row in read_rows(path, ("dataset", "arch")))


@cache
def _published() -> "pd.DataFrame":
    import pandas as pd

    return pd.concat([_table(path) for path in _paths()], ignore_index=True)


def _paths() -> list[Path]:
    paths = sorted(FOLDER.glob("*.csv"))
    if not paths:
        raise DataError(f"{FOLDER}: the published numbers are missing; restore this folder of the project")
    return paths


def _table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    for number, row in enumerate(read_rows(path, COLUMNS), start=2):
        check_law(path, number, row)
        _check_claim(path, number, row)
        _check_images(path, number, row)
    with restored(path):
        table = pd.read_csv(path).fillna({"images": ""})
        table.astype(dict.fromkeys(NUMBERS, float))  # ValueError where one is not a number
        return table


def check_law(path: Path, number: int, row: dict[str, str]) -> None:
    """`DataError` unless a row says under which noise and in which norm its number holds."""
    with restored(path):
        if not row["noise"] or row["norm"] not in NORMS:
            raise ValueError(
                f"line {number}: noise and norm must be a kind of noise and one of {', '.join(NORMS)}, "
                f"got {row['noise']!r} and {row['norm']!r}"
            )


def _check_claim(path: Path, number: int, row: dict[str, str]) -> None:
    """`DataError` unless a row says which certificate its number rests on; no draws and alpha = 0 come together."""
    with restored(path):
        if not row["certificate"]:
            raise ValueError(f"line {number}: certificate must be a kind of certificate, got ''")
        if (row["n"] == "") != (row["alpha"] != "" and float(row["alpha"]) == 0):
            raise ValueError(
                f"line {number}: n is empty where every outcome was counted, and alpha is then 0; "
                f"got n {row['n']!r} and alpha {row['alpha']!r}"
            )


def image_range(images: str) -> range:
    """The numbers of test images that `first:end` or `first:end:step` means; ValueError for anything else, and for none."""
    found = re.fullmatch(r"(\d+):(\d+)(?::([1-9]\d*))?", images)
    if found is None or not (numbers := range(int(found[1]), int(found[2]), int(found[3] or 1))):
        raise ValueError(f"images must be first:end or first:end:step, as in 0:10000:20, got {images!r}")
    return numbers


def _check_images(path: Path, number: int, row: dict[str, str]) -> None:
    """`DataError` where a row has other than a whole number of results for each image that it names; copies are several."""
    with restored(path):
        if row["images"] and int(row["n_images"]) % (count := len(image_range(row["images"]))):
            raise ValueError(f"line {number}: {row['images']} are {count} images, but n_images is {row['n_images']}")


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a table of published numbers; a `DataError` where it is damaged or lacks one of these columns."""
    with restored(path):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), strict=True))
        for number, row in enumerate(rows, start=2):
            if None in row or any(row.get(column) is None for column in columns):
                raise ValueError(f"line {number} does not have the columns {', '.join(columns)}")
    return rows


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Within this context whatever is wrong with a file of the project itself is a `DataError`."""
    try:
        yield
    except (csv.Error, *DAMAGE) as error:
        raise DataError(f"{path}: is not a valid table of published numbers ({error}); restore this file") from error
