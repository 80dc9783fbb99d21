import gzip
import http.server
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from certflow.data.idx import parse_idx, read_bytes
from certflow.data.idx_dataset import Checksum
from certflow.data.kinds.fmnist import FashionMnist
from certflow.data.kinds.mnist import Mnist
from certflow.data.source import md5
from certflow.data.store import content_digest, open_split, prepare
from certflow.errors import DataError


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    return parse_idx(read_bytes(path), path, dimensions)


MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def write_set(folder: Path, train: int = 7, test: int = 5, compress: bool = True) -> dict[str, np.ndarray]:
    """The four files of a tiny MNIST; returns their arrays by name."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "train-images-idx3-ubyte": pixels(train, 1),
        "train-labels-idx1-ubyte": np.arange(train) % 10,
        "t10k-images-idx3-ubyte": pixels(test, 2),
        "t10k-labels-idx1-ubyte": np.arange(test) % 10,
    }
    for name, array in arrays.items():
        data = idx_bytes(array)
        (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(data, mtime=0) if compress else data)
    return arrays


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny Fashion-MNIST, known to the kind by the checksums of its own files; (root, arrays)."""
    root = tmp_path / "root"
    arrays = write_set(root)
    known = {name: Checksum(gz_md5=md5(root / f"{name}.gz")) for name in MNIST_FILES}
    monkeypatch.setattr(FashionMnist, "checksums", known)
    return root, arrays


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(4,), (3, 5, 6), (0, 28, 28)])
def test_an_idx_file_is_read_back(tmp_path, compress, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / ("x.gz" if compress else "x")
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    assert np.array_equal(read_idx(path, array.ndim), array)


@pytest.mark.parametrize("cut", [0, 3, 15, 16, 100, 2367])
def test_a_truncated_plain_file_is_refused_with_both_sizes(tmp_path, cut):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(pixels(3))[:cut])
    expected = 16 if cut < 16 else 16 + 3 * 784
    with pytest.raises(DataError, match=f"{path}: is truncated: {cut} bytes.* {expected}.*get the file again"):
        read_idx(path, 3)


def test_a_truncated_gz_file_is_refused_with_both_sizes(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    data = gzip.compress(idx_bytes(pixels(20)))
    path.write_bytes(data[: len(data) // 2])
    message = (
        rf"{path}: is truncated: its {len(data) // 2} compressed bytes hold \d+ bytes of data, {16 + 20 * 784} expected"
    )
    with pytest.raises(DataError, match=message):
        read_idx(path, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data + b"x", "has bytes after its end: 2369 bytes found, 2368 expected"),
        (
            lambda data: b"\0\0\x0d" + data[3:],
            "not an idx file of unsigned bytes with 3 dimensions.*00000d03, expected 00000803",
        ),
        (lambda data: data[:3] + b"\1" + data[4:], "not an idx file of unsigned bytes with 3 dimensions"),
        (lambda data: b"\x1f\x8b" + data[2:], "not an idx file"),
    ],
)
def test_a_wrong_header_or_length_is_refused(tmp_path, change, message):
    path = tmp_path / "x"
    path.write_bytes(change(idx_bytes(pixels(3))))
    with pytest.raises(DataError, match=message):
        read_idx(path, 3)


def test_a_damaged_gz_file_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    data = bytearray(gzip.compress(idx_bytes(pixels(3))))
    data[-6] ^= 1  # in the checksum at the end
    path.write_bytes(data)
    with pytest.raises(DataError, match="not an intact gzip file"):
        read_idx(path, 3)
    path.write_bytes(gzip.compress(idx_bytes(pixels(3))) + b"more")
    with pytest.raises(DataError, match="has 4 bytes after its end"):
        read_idx(path, 3)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="not an intact gzip file"):
        read_idx(path, 3)


@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
def test_a_split_is_what_the_files_hold(tiny, place):
    root, arrays = tiny
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    for name in MNIST_FILES:
        (root / f"{name}.gz").rename(folder / f"{name}.gz")
    train, test = FashionMnist().read("train", root), FashionMnist().read("test", root)
    assert np.array_equal(train.images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(train.labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(test.images[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert train.labels.dtype == np.int64 and train.images.shape == (7, 1, 28, 28)
    assert test.describe(3) == "t10k-images-idx3-ubyte.gz[3]"


def test_another_datasets_files_are_refused(tiny):
    root, _ = tiny
    name = "t10k-images-idx3-ubyte"
    (root / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(pixels(5, seed=9))))
    with pytest.raises(DataError, match=f"{name}.gz: is not the published file of fmnist"):
        FashionMnist().read("test", root)
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz: is not the published file of mnist"):
        Mnist().read("train", root)


def test_an_uncompressed_file_without_known_checksum_is_refused(tiny):
    root, arrays = tiny
    name = "t10k-labels-idx1-ubyte"
    (root / f"{name}.gz").unlink()
    (root / name).write_bytes(idx_bytes(arrays[name]))
    with pytest.raises(DataError, match="uncompressed file of fmnist cannot be verified.*put that file there instead"):
        FashionMnist().read("test", root)


def test_numbers_of_images_and_labels_must_agree(tiny, monkeypatch):
    root, _ = tiny
    path = root / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(4))))
    monkeypatch.setitem(FashionMnist.checksums, "t10k-labels-idx1-ubyte", Checksum(gz_md5=md5(path)))
    with pytest.raises(DataError, match="has 4 labels for the 5 images"):
        FashionMnist().read("test", root)


def test_missing_files_are_named_with_every_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        prepare(Mnist(), tmp_path / "mnist.json")
    for part in (
        tmp_path / "mnist",
        "train-images-idx3-ubyte.gz",
        "datasets.<name>.root",
        "CERTFLOW_DATA",
        "download: true",
    ):
        assert str(part) in str(caught.value)
    assert not (tmp_path / "mnist.json").exists()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a local web server for a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_download_goes_through_torchvision(tmp_path, monkeypatch):
    import torchvision.datasets

    source, root = tmp_path / "mirror", tmp_path / "root"
    arrays = write_set(source)
    known = {name: Checksum(gz_md5=md5(source / f"{name}.gz")) for name in MNIST_FILES}
    reader = torchvision.datasets.FashionMNIST
    monkeypatch.setattr(FashionMnist, "checksums", known)
    monkeypatch.setattr(reader, "resources", [(f"{name}.gz", known[name].gz_md5) for name in MNIST_FILES])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(source) as address:
        monkeypatch.setattr(reader, "mirrors", [address])
        split = FashionMnist(download=True).read("test", root)
        assert np.array_equal(split.images[:, 0], arrays["t10k-images-idx3-ubyte"])
        (source / "train-images-idx3-ubyte.gz").write_bytes(b"torn")
        with pytest.raises(DataError, match="download of fmnist failed"):
            FashionMnist(download=True).read("test", tmp_path / "other")


@pytest.mark.parametrize(("kind", "name"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_known_checksums_are_those_of_torchvision(kind, name):
    import torchvision.datasets

    published = dict(getattr(torchvision.datasets, name).resources)
    assert {f"{file}.gz": known.gz_md5 for file, known in kind.checksums.items()} == published


def test_the_real_mnist_is_read_bit_for_bit(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    folder = shared("data/mnist")
    spec, manifest = Mnist(root=str(folder)), tmp_path / "mnist.json"
    prepare(spec, manifest)
    for split, prefix, size in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        opened = open_split(spec, manifest, split)
        with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz") as handle:
            raw = handle.read()
        assert len(opened) == size
        assert opened.read(np.arange(size)).tobytes() == raw[16:]
        with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz") as handle:
            assert opened.labels.astype(np.uint8).tobytes() == handle.read()[8:]
    # Pins the definition of the digest: another value voids every model trained on MNIST.
    assert content_digest(manifest) == "48554dbcf85c6b3b808b11dd513ff6d5525875dc6aa8ff05cf298e57591e7f3e"
