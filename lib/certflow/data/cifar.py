"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as distributed for Python; torchvision's classes verify and read them."""

import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from certflow.data.base import DataInfo, DatasetSpec, SplitName
from certflow.data.source import SourceFile, md5, missing, source_file
from certflow.data.splits import ArraySplit
from certflow.errors import DataError


class CifarDataset(DatasetSpec):
    """Base of the two kinds. The files are pickles: they are opened only after their MD5 is that of the published ones."""

    torchvision_class: ClassVar[str]
    classes: ClassVar[int]
    mean: ClassVar[tuple[float, float, float]]
    sd: ClassVar[tuple[float, float, float]]

    def info(self) -> DataInfo:
        return DataInfo(
            classes=self.classes,
            shape=(3, 32, 32),
            mean=self.mean,
            sd=self.sd,
            augmentation="crop_flip",
            size={"train": 50_000, "test": 10_000},
        )

    def read(self, split: SplitName, root: Path) -> ArraySplit:
        """The split from the unpacked archive: `<root>/<its folder>/…`, or that folder itself as root."""
        import torchvision.datasets

        reader = getattr(torchvision.datasets, self.torchvision_class)
        if root.name == reader.base_folder and not (root / reader.base_folder).is_dir():
            root = root.parent
        files = self._verified(reader, root, split)
        with warnings.catch_warnings():
            # numpy warns about the old way in which dtypes are written inside these pickles.
            warnings.simplefilter("ignore")
            dataset = reader(str(root), train=split == "train", download=False)
        images = np.ascontiguousarray(np.transpose(dataset.data, (0, 3, 1, 2)))
        return ArraySplit(images, np.asarray(dataset.targets, dtype=np.int64), f"{reader.base_folder} {split}", files)

    def _verified(self, reader: Any, root: Path, split: SplitName) -> list[SourceFile]:
        """Records of the split's files, after checking all of the dataset's files; downloads them where that is wanted."""
        published = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
        folder = root / reader.base_folder
        if self.download and not all((folder / name).is_file() for name, _ in published):
            self._fetch(reader, root)
        for name, checksum in published:
            path = folder / name
            if not path.is_file():
                raise missing(self, path, f"the folder {reader.base_folder} of {reader.filename}, unpacked")
            found = md5(path)
            if found != checksum:
                raise DataError(
                    f"{path}: is not the published file (MD5 {found}, expected {checksum}; {path.stat().st_size} bytes): "
                    f"damaged or truncated; unpack {reader.filename} again"
                )
        wanted = reader.train_list if split == "train" else reader.test_list
        return [source_file(folder / name, root) for name, _ in wanted]

    def _fetch(self, reader: Any, root: Path) -> None:
        """Download and unpack through torchvision; an intact archive that lies in `root` is only unpacked."""
        try:
            reader(str(root), download=True)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{root}: the download of {self.kind} failed ({error}); fetch {reader.url} by hand and unpack it there"
            ) from error
