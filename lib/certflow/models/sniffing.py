"""What a file is, by its first bytes, in a sentence that says what to do with one that holds no weights."""

import html
import re
import zipfile
from pathlib import Path

PART = re.compile(r"-\d+-of-(\d+)\.\w+$", re.ASCII)
"""How large models are called that were saved in parts: model-00001-of-00002.safetensors."""
HEAD = 1024
"""Bytes looked at."""
LFS = b"version https://git-lfs"
PACKED = {
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-zip archive",
    b"Rar!": "a RAR archive",
}
OTHER = {
    b"\x89HDF": ("an HDF5 file (Keras, h5py)", "save the weights of a PyTorch model"),
    b"\x93NUMPY": ("a numpy array", "save a mapping from names to tensors"),
    b"GGUF": ("a GGUF file", "take the file of the PyTorch model it was made from"),
    b"\x89PNG": ("a PNG image", "name the weight file"),
    b"\xff\xd8\xff": ("a JPEG image", "name the weight file"),
    b"GIF8": ("a GIF image", "name the weight file"),
    b"%PDF": ("a PDF document", "name the weight file"),
    b"\x7fELF": ("a program", "name the weight file"),
}
SAVE = 'torch.save(model.state_dict(), "weights.pth")'
"""How weights are saved so that any reader can take them."""
CALLED = "to certify it as it is, call `certflow certify` with"


def misnomer(path: Path) -> str | None:
    """What a file that holds no readable weights is, and how to mend it; None for one whose first bytes could be weights.

    Reads `HEAD` bytes and, of zip archives, the names inside. Raises OSError where the file cannot be read.
    """
    if path.is_dir():
        return f"is a folder; name the weight file in it ({_weight_files(path)})"
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        return "is not a regular file; name the weight file"
    part = PART.search(path.name)
    if part and int(part[1]) > 1 and path.exists():
        return (
            f"is one of {int(part[1])} parts of a model; load all of them where it was made, and save one file: {SAVE}"
        )
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty (0 bytes); the download or copy did not finish, fetch it again"
    if head.startswith(LFS):
        return f"is a Git LFS pointer, not the file itself{_lfs_size(head)}; run `git lfs pull` where it was cloned"
    if head.startswith(b"PK"):
        return _zip(path)
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the weight file inside"
    packed = next((what for start, what in PACKED.items() if head.startswith(start)), None)
    if packed is not None:
        return f"is {packed}; unpack it and name the weight file inside"
    other = next((entry for start, entry in OTHER.items() if head.startswith(start)), None)
    if other is not None:
        return f"is {other[0]}, which holds no PyTorch weights; {other[1]}"
    return _text(head) or _binary(head)


def _zip(path: Path) -> str | None:
    """Zip archives that are not a `torch.save` file; None for those that are, and for damaged ones."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return None
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inner:
        load = f'torch.jit.load("{path.name}")'
        return (
            f"is a TorchScript archive, which is a program: {CALLED} --python and a function that returns {load}, if you trust "
            f'it; or take its weights out where it was made: torch.save({load}.state_dict(), "weights.pth")'
        )
    if "archive_format" in inner:
        load = f'torch.export.load("{path.name}")'
        return (
            f"is an exported program (torch.export): {CALLED} --python and a function that returns {load}, if you trust it; or "
            f'take its weights out where it was made: torch.save(dict({load}.state_dict), "weights.pth")'
        )
    if "data.pkl" in inner:
        return None
    if names and all(name.endswith(".npy") for name in names):
        how = 'torch.save({name: torch.from_numpy(a) for name, a in np.load("file.npz").items()}, "weights.pth")'
        return f"is a numpy archive (npz); turn its arrays into tensors: {how}"
    return f"is a zip archive that torch.save did not write (it holds {_some(names)}); unpack it, name the weight file inside"


def _text(head: bytes) -> str | None:
    """Texts: web pages, JSON, and anything that is printable."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype|html|head|body|\?xml|!--)", start, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        said = f' ("{_shown(title[1])}")' if title else ""
        return f"is a web page{said}, not the file that its link promised; download the file again"
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return None
    what = "a JSON text" if start[:1] in (b"{", b"[") else "a text"
    return f"is {what} that begins with {_shown(head)!r}, not a weight file; name the weight file"


def _binary(head: bytes) -> str | None:
    """Binary files that are known by more than their start, and those that cannot be a pickle or safetensors."""
    if not head.strip(b"\0"):
        return "begins with zeros; the download or copy did not finish, fetch it again"
    if head[:1] == b"\x08" and (b"pytorch" in head[:64] or b"onnx" in head[:64].lower()):
        return f"is an ONNX graph, which is a program: {CALLED} --onnx; or save the weights where it was made: {SAVE}"
    if head[:1] in (b"\x80", b"}", b"(", b"]", b"c") or head[8:9] == b"{":
        return None
    return f"is not a weight file (its first bytes are {head[:8].hex(' ')}); known: safetensors, files of torch.save"


def _lfs_size(head: bytes) -> str:
    found = re.search(rb"size (\d{1,20})\s", head)
    return f" (which has {int(found[1]):,} bytes)" if found else ""


def _weight_files(folder: Path) -> str:
    names = (entry.name for entry in folder.iterdir() if entry.is_file())
    return _some(
        sorted(name for name in names if name.endswith((".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar")))
    )


def _some(names: list[str], most: int = 4) -> str:
    return (", ".join(names[:most]) or "none") + (", ..." if len(names) > most else "")


def _shown(text: bytes, most: int = 60) -> str:
    """The start of a text, on one line."""
    return html.unescape(" ".join(text.decode("utf-8", "replace").split()))[:most]
