"""What a file of arrays says of how it was made, read without its arrays."""

import zipfile
import zlib
from pathlib import Path

from lib.artefact import Provenance
from lib.errors import ArtefactError


def arrays_record(path: str | Path) -> Provenance:
    """The provenance of a file that `lib.artefact.write_arrays` wrote; `ArtefactError` where it cannot be read."""
    import numpy as np

    try:
        with zipfile.ZipFile(path) as file, file.open("provenance.npy") as member:
            text = str(np.lib.format.read_array(member, allow_pickle=False))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: is missing; run again to make it") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactError(f"{path}: is damaged ({error}); delete it and run again") from error
    return Provenance.from_json(text, path)
