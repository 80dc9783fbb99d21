"""The tokenizer that a pretrained encoder was trained with, from the file `tokenizer.json` of the tokenizers library."""

from pathlib import Path
from typing import Any

from certflow.errors import DataError
from certflow.files.intact import file_digest

FILE = "tokenizer.json"
SHIFT = 1
"""Added to the tokenizer's numbers: 0 is padding here, whatever the encoder pads with."""


class Pretrained:
    """A tokenizer from a folder. It adds its special tokens itself. The package tokenizers must be installed."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / FILE
        if not self.path.is_file():
            raise DataError(f"{self.path}: not found; put the encoder's {FILE} there, or correct `pretrained`")
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise DataError(
                f"{self.path}: reading it needs the package tokenizers; install it beside this project"
            ) from error
        try:
            self.tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # the library raises bare Exceptions
            raise DataError(f"{self.path}: is not a tokenizer ({error}); get the file again") from error
        self.tokenizer.no_padding()

    def encode(self, text: str, pair: str | None, length: int) -> list[int]:
        """At most `length` tokens."""
        self.tokenizer.enable_truncation(length)
        return [number + SHIFT for number in self.tokenizer.encode(text, pair).ids]

    def record(self) -> dict[str, Any]:
        """What the dataset's manifest keeps."""
        return {"kind": "pretrained", "digest": file_digest(self.path)}
