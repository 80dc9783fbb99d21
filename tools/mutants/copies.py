"""A private copy of the working tree: what is changed and run there cannot touch the files that somebody works on."""

import hashlib
import shutil
import subprocess
from pathlib import Path

BESIDE = ("shared",)
"""Folders beside the repository that tests may read."""


def tracked(root: Path) -> list[str]:
    """Files of the working tree that git tracks or does not ignore, and that are there."""
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in set(names) if (root / name).is_file() and not (root / name).is_symlink())


def copied(root: Path, folder: Path) -> Path:
    """The tree, copied to `folder`/tree, with links to what lies beside it and to the environment."""
    tree = folder / "tree"
    for name in tracked(root):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, tree / name)
    links = {folder / name: root.parent / name for name in BESIDE} | {tree / ".venv": root / ".venv"}
    for link, target in links.items():
        if target.exists():
            link.symlink_to(target.resolve())
    return tree


def written(path: Path, text: str) -> None:
    """Put other text into a file."""
    path.write_text(text, encoding="utf-8")
    _forget_bytecode(path)


def restored(path: Path, original: Path) -> None:
    """Put the original file back."""
    shutil.copy2(original, path)
    _forget_bytecode(path)


def _forget_bytecode(path: Path) -> None:
    """Stored bytecode knows the text by time and length alone, which do not tell two changes apart."""
    for stored in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        stored.unlink()


def digest(root: Path, names: list[str]) -> str:
    """SHA-256 of the named files' names and bytes."""
    found = hashlib.sha256()
    for name in sorted(names):
        found.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return found.hexdigest()
