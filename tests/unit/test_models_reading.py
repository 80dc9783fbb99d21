"""Weight files made elsewhere: what is read, what is said of files that are something else, and what damage does."""

import argparse
import collections
import datetime
import gzip
import io
import os
import pathlib
import pickle
import tarfile
import types
import zipfile

import numpy as np
import pytest
import torch
from models_examples import CIFAR, spec
from safetensors.torch import save_file
from torch import nn

from certflow.errors import ArtefactError, CertflowError
from certflow.models import build, load_checkpoint
from certflow.models.pickles import unpickle
from certflow.models.published import load_weights
from certflow.models.reading import read_tensors, weight_file

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.int32),
    *(torch.int16, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn),
)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return build(spec("cifar_resnet", depth=8), CIFAR)[1].state_dict()


def prefixed(weights, prefix):
    return {prefix + name: tensor for name, tensor in weights.items()}


def read(path, model="cifar_resnet8", **options):
    return load_checkpoint(path, model, **options)[1].state_dict()


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("archive", [True, False])
def test_tensors_of_every_kind_are_read_as_torch_reads_them(tmp_path, archive):
    base = torch.arange(24.0)
    kinds = DTYPES if archive else DTYPES[:-1]  # torch itself cannot write the newest kinds in its old format
    state = {f"w.{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in kinds}
    state |= {
        "transposed": base.reshape(4, 6).t(),
        "part": base[3:9],
        "part of the part": base[3:9][::2],
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3.0),
        "parameter": nn.Parameter(torch.ones(2)),
        "repeated": torch.ones(3, 1).expand(3, 1),
    }
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    wanted, found = torch.load(tmp_path / "w.pth", weights_only=True), read_tensors(tmp_path / "w.pth")
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape, found[name].stride()) == (
            tensor.dtype,
            tensor.shape,
            tensor.stride(),
        )
        assert torch.equal(found[name].to(torch.complex128), tensor.detach().to(torch.complex128)), name


def test_archives_without_checksums_are_read(resnet, tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(resnet, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert equal(read(tmp_path / "w.pth"), resnet)


class OwnMapping(dict):
    """A class of the user's own."""


BESIDE = {
    "argparse.Namespace": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=1)),
    "types.SimpleNamespace": types.SimpleNamespace(a=1),
    "pathlib.PosixPath": pathlib.PurePosixPath("/x"),
    "datetime.datetime": datetime.datetime(2024, 1, 1),
    "collections.defaultdict": collections.defaultdict(list, a=[1]),
    "collections.Counter": collections.Counter("abc"),
    "own mapping": OwnMapping(a=1),
    "set": {1, 2},
    "slice": slice(1, 2),
    "numpy array": np.arange(3),
    "numpy number": np.float64(0.5),
    "torch.device": torch.device("cuda"),
    "module": nn.Linear(2, 2),
    "optimiser": torch.optim.SGD([nn.Parameter(torch.ones(2))], momentum=0.9, lr=0.1),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_beside_the_weights_are_left_unmade(resnet, tmp_path, name, archive, protocol):
    content = {"state_dict": resnet, "args": BESIDE[name], "epoch": 3}
    torch.save(content, tmp_path / "w.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    assert equal(read(tmp_path / "w.pth"), resnet)
    with weight_file(tmp_path / "w.pth") as file:
        assert file.beside[-1] == "epoch" and file.beside[0].startswith("args")


def test_what_lies_beside_is_named_with_its_class(resnet, tmp_path):
    torch.save({"state_dict": resnet, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    source = load_weights(tmp_path / "w.pth", spec("cifar_resnet", depth=8), CIFAR).source
    assert source.beside == ("args (argparse.Namespace)",)
    assert (source.taken, source.average, source.others) == ("state_dict", False, ())


PREFIXES = (
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model._orig_mod.",
    "_fsdp_wrapped_module.",
    "base_model.",
    "encoder.",
    "timm_model.",
    "a.b.c.d.",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_single_prefix_is_taken_off(resnet, tmp_path, prefix):
    torch.save({"state_dict": prefixed(resnet, prefix), "epoch": 1}, tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth"), resnet)


def test_a_compiled_part_inside_a_model_is_found(resnet, tmp_path):
    state = {name.replace("layer1.", "layer1._orig_mod."): tensor for name, tensor in resnet.items()}
    torch.save(state, tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth"), resnet)


@pytest.mark.parametrize(
    "content",
    [
        lambda w: {"anything": w},
        lambda w: {"a": {"b": {"c": w}}},
        lambda w: (w, {"lr": 0.1}),
        lambda w: {"hparams": {"lr": torch.tensor(0.1)}, "loss": torch.zeros(()), "weights": w},
    ],
)
def test_weights_are_found_wherever_they_lie(resnet, tmp_path, content):
    torch.save(content(resnet), tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth"), resnet)


AVERAGES = {
    "timm's trainer": (lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema}, "state_dict", "state_dict_ema"),
    "DeiT": (lambda raw, ema: {"model": raw, "model_ema": ema}, "model", "model_ema"),
    "nested": (lambda raw, ema: {"ema": {"module": ema}, "model": raw}, "model", "ema/module"),
    "one mapping": (
        lambda raw, ema: {"state_dict": prefixed(raw, "model.") | prefixed(ema, "ema_model.module.")},
        "state_dict:model.",
        "state_dict:ema_model.module.",
    ),
}


@pytest.mark.parametrize("layout", AVERAGES)
def test_averages_beside_the_weights_are_taken_when_asked_for(resnet, tmp_path, layout):
    make, raw_label, ema_label = AVERAGES[layout]
    ema = {name: tensor + 1 for name, tensor in resnet.items()}
    torch.save(make(resnet, ema), tmp_path / "w.pth")
    for choice in ("auto", "raw", raw_label):
        assert equal(read(tmp_path / "w.pth", weights=choice), resnet)
    for choice in ("ema", ema_label):
        assert equal(read(tmp_path / "w.pth", weights=choice), ema)
    source = load_weights(tmp_path / "w.pth", spec("cifar_resnet", depth=8), CIFAR).source
    assert (source.taken, source.others, source.average) == (raw_label, (ema_label,), False)


def test_averages_alone_are_taken_and_named(resnet, tmp_path):
    torch.save({"model_ema": resnet}, tmp_path / "w.pth")
    source = load_weights(tmp_path / "w.pth", spec("cifar_resnet", depth=8), CIFAR).source
    assert (source.taken, source.average) == ("model_ema", True)
    with pytest.raises(
        ArtefactError, match="no weights besides running averages that fit; those that do fit: model_ema"
    ):
        read(tmp_path / "w.pth", weights="raw")


def test_torchs_own_averages_are_recognised_by_their_counter(resnet, tmp_path):
    torch.save({**prefixed(resnet, "module."), "n_averaged": torch.tensor(7)}, tmp_path / "w.pth")
    source = load_weights(tmp_path / "w.pth", spec("cifar_resnet", depth=8), CIFAR).source
    assert source.average and source.dropped == ("n_averaged",)


def test_two_sets_that_fit_must_be_told_apart(resnet, tmp_path):
    other = {name: tensor + 1 for name, tensor in resnet.items()}
    torch.save({"student": resnet, "teacher": other}, tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="several sets of weights that fit: student, teacher; say which"):
        read(tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth", weights="teacher"), other)
    with pytest.raises(ArtefactError, match="no weights that fit at 'tutor'; those that do fit: student, teacher"):
        read(tmp_path / "w.pth", weights="tutor")
    torch.save(prefixed(resnet, "student.") | prefixed(other, "teacher."), tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth", weights=":teacher."), other)
    torch.save({"state_dict": resnet, "best": resnet}, tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth"), resnet)


def test_what_does_not_belong_to_the_network_is_named_and_can_be_left_out(resnet, tmp_path):
    content = {**prefixed(resnet, "model."), "criterion.weight": torch.ones(10), "total_ops": torch.zeros(1)}
    content |= {"metric.hits": torch.zeros(1), "metric.all": torch.zeros(1)}
    torch.save({"state_dict": content}, tmp_path / "w.pth")
    with pytest.raises(ArtefactError) as caught:
        read(tmp_path / "w.pth")
    assert "has in addition criterion.weight, metric.hits, metric.all. All weights of the network are there" in str(
        caught.value
    )
    assert "leave_out: ['criterion.*', 'metric.*']" in str(caught.value) and "architecture" not in str(caught.value)
    assert equal(read(tmp_path / "w.pth", leave_out=["criterion.*", "metric.*"]), resnet)
    torch.save(torch.ones(3), tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match="holds a tensor, not a mapping from names to tensors"):
        read(tmp_path / "w.pth")


def test_a_mean_beside_the_network_is_its_normalisation(resnet, tmp_path):
    values = {"model.mean": torch.full((1, 3, 1, 1), 0.4), "model.std": torch.full((1, 3, 1, 1), 0.2)}
    torch.save(prefixed(resnet, "model.net.") | values, tmp_path / "w.pth")
    found = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")[0]
    assert found.mean.flatten().tolist() == pytest.approx([0.4] * 3)
    assert found.sd.flatten().tolist() == pytest.approx([0.2] * 3)


def test_a_stored_mean_of_pixels_to_255_is_pointed_out(resnet, tmp_path):
    values = {"model.mean": torch.full((1, 3, 1, 1), 120.0), "model.std": torch.full((1, 3, 1, 1), 58.0)}
    torch.save(prefixed(resnet, "model.net.") | values, tmp_path / "w.pth")
    with pytest.warns(
        UserWarning, match="w.pth: mean .120.0, 120.0, 120.0. is not one of pixels in .0,1.*by 255, and give both"
    ):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")


def test_a_stored_noise_level_is_not_taken_for_a_normalisation(resnet, tmp_path):
    torch.save(prefixed(resnet, "model.") | {"sigma": torch.tensor(0.25)}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match="w.pth: stores a standard deviation .* and no mean; if it is a noise level, leave it"
    ):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")
    found = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", leave_out=["sigma"])[0]
    usual = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", mean=(0.5,) * 3, sd=(0.2,) * 3)[0]
    assert found.sd.flatten().tolist() == pytest.approx([0.2023, 0.1994, 0.2010])
    assert usual.sd.flatten().tolist() == pytest.approx([0.2] * 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(10, dtype=torch.complex64), "fc.bias holds complex numbers"),
        (torch.zeros(10, dtype=torch.int8), "fc.bias holds torch.int8 numbers.*quantised"),
        (
            torch.ones(10).to_sparse(),
            r"fc.bias is not a dense tensor \(torch._utils._rebuild_sparse_tensor\); convert it",
        ),
        (torch._neg_view(torch.ones(10)), "fc.bias is not a dense tensor"),
        (np.ones(10, np.float32), "fc.bias is not a dense tensor.*numpy"),
        ("none", r"fc.bias is not a dense tensor \(str\)"),
    ],
)
def test_numbers_of_another_kind_are_refused_by_name(resnet, tmp_path, value, message):
    torch.save({**resnet, "fc.bias": value}, tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=message):
        read(tmp_path / "w.pth")


class Net(nn.Module):
    def forward(self, x):
        return x * 2


def _zip(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)


def _numpy(path, save):
    with open(path, "wb") as file:
        save(file, np.ones(3))


def _tar(path):
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("w.pth")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 19332096\n"
FOREIGN = {
    "empty": (lambda p: p.write_bytes(b""), r"is empty \(0 bytes\)"),
    "LFS": (lambda p: p.write_text(LFS), "is a Git LFS pointer.*19,332,096 bytes.*git lfs pull"),
    "page": (
        lambda p: p.write_text("\n<!DOCTYPE html><title>Quota\nexceeded</title>"),
        'is a web page.*"Quota exceeded"',
    ),
    "XML": (lambda p: p.write_text('<?xml version="1.0"?><Error>AccessDenied</Error>'), "is a web page"),
    "JSON": (lambda p: p.write_text('{"message": "Not Found"}'), "is a JSON text that begins with .*Not Found"),
    "text": (lambda p: p.write_text("../other.pth\n"), "is a text that begins with '../other.pth'"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"x")), "is a gzip archive; unpack it"),
    "tar": (_tar, "is a tar archive; unpack it"),
    "zip": (lambda p: _zip(p, w__pth=b"x", readme=b"y"), r"is a zip archive.*it holds w.pth, readme.*unpack it"),
    "npz": (lambda p: _numpy(p, np.savez), "is a numpy archive"),
    "npy": (lambda p: _numpy(p, np.save), "is a numpy array"),
    "HDF5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 50), "is an HDF5 file"),
    "ONNX": (
        lambda p: p.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x052.1.0"),
        "is an ONNX graph.*certflow certify` with --onnx",
    ),
    "zeros": (lambda p: p.write_bytes(b"\0" * 5000), "begins with zeros"),
    "other": (lambda p: p.write_bytes(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09"), "first bytes are 01 02 03"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "a Python pickle that torch.save did not write"),
    "exported program": (
        lambda p: torch.export.save(torch.export.export(Net(), (torch.ones(2),)), str(p)),
        "is an exported program .*torch.export.load.*state_dict",
    ),
    "TorchScript": (lambda p: torch.jit.script(Net()).save(str(p)), "is a TorchScript archive.*torch.jit.load"),
    "module": (lambda p: torch.save(Net(), p), r"Net to be unpickled.*torch.save\(model.state_dict"),
    "module inside": (lambda p: torch.save({"model": nn.Linear(2, 2)}, p), "model is a whole torch.nn.modules.linear"),
    "folder": (lambda p: p.mkdir(), "is a folder; name the weight file in it"),
    "pipe": (os.mkfifo, "is not a regular file; name the weight file"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_files_that_are_something_else_are_called_by_their_name(tmp_path, name):
    write, message = FOREIGN[name]
    write(tmp_path / "w.pth")
    with pytest.raises(ArtefactError, match=f"(?s)w.pth: .*{message}") as caught:
        read(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)


def test_a_part_of_a_model_is_not_taken_for_another_architecture(resnet, tmp_path):
    save_file(resnet, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ArtefactError, match="00002.safetensors: is one of 2 parts of a model; load all of them"):
        read(tmp_path / "model-00001-of-00002.safetensors")
    save_file(resnet, tmp_path / "model-00001-of-00001.safetensors")
    assert equal(read(tmp_path / "model-00001-of-00001.safetensors"), resnet)


def test_safetensors_are_known_by_content(resnet, tmp_path):
    save_file(resnet, tmp_path / "w.pth")
    assert equal(read(tmp_path / "w.pth"), resnet)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return {"state_dict": nn.Conv2d(2, 2, 3).state_dict(), "args": argparse.Namespace(lr=1), "n": [1, (2, "x")]}


FORMATS = {
    "archive": lambda content, path: torch.save(content, path),
    "stream": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda content, path: save_file(content["state_dict"], path),
}


@pytest.mark.parametrize("layout", FORMATS)
def test_damage_never_ends_otherwise_than_in_our_error(small, tmp_path, layout):
    """Bytes changed, cut out and repeated. In archives no change of a value goes unnoticed."""
    path = tmp_path / "w"
    FORMATS[layout](small, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(600):
        damaged = bytearray(whole)
        start, length = int(rng.integers(len(whole))), int(rng.choice([1, 1, 1, 4, 8, 50]))
        kind = rng.integers(4)
        if kind == 0:
            damaged[start : start + length] = rng.bytes(len(damaged[start : start + length]))
        elif kind == 1:
            damaged[start] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == 2:
            del damaged[start : start + length]
        else:
            damaged[start:start] = damaged[start : start + length]
        path.write_bytes(damaged)
        try:
            found = read_tensors(path)
        except CertflowError as error:
            assert str(path) in str(error)
            continue
        if layout == "archive" and found.keys() == small["state_dict"].keys():
            assert equal(found, small["state_dict"])


def test_a_file_cannot_ask_for_more_memory_than_it_has_bytes(tmp_path):
    huge = 2**40
    for body in (
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x05\x96" + huge.to_bytes(8, "little") + b".",
        b"\x80\x04\x8e" + huge.to_bytes(8, "little") + b".",
    ):
        _zip(tmp_path / "w", **{"a/data__pkl": body})
        with pytest.raises(ArtefactError, match="damaged or no weight file"):
            read_tensors(tmp_path / "w")


def test_a_pickle_cannot_alter_the_reader(tmp_path):
    """BUILD on the functions and classes that a pickle may name."""
    for name in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cany\nthing\n"):
        body = b"\x80\x02" + name + b"}q\x00X\x04\x00\x00\x00makeK\x01sb."
        _zip(tmp_path / "w", **{"a/data__pkl": body})
        with pytest.raises(ArtefactError, match=r"damaged or no weight file|holds a (whole|type)"):
            read_tensors(tmp_path / "w")


def nested(levels: int) -> bytes:
    """A pickle of a dictionary with a key of so many tuples within each other."""
    return b"\x80\x02}" + b")" + b"\x85" * levels + b"Ns."


HANDED_ON = b"ctorch._utils\n_rebuild_parameter\n"


@pytest.mark.parametrize(
    "content",
    [
        nested(400_000),
        b"\x80\x02}" + b")q\x00" + b"0h\x00\x85q\x00" * 2000 + b"h\x00Ns.",  # by way of the memo
        b"\x80\x02}" + b"(" * 2000 + b")" + b"t" * 2000 + b"Ns.",  # by way of marks
        b"\x80\x02}" + HANDED_ON * 2000 + b")" + b"\x85\x85R" * 2000 + b"Ns.",  # by way of a function that hands it on
    ],
)
def test_a_key_whose_hash_would_end_the_process_is_refused(content):
    with pytest.raises(pickle.UnpicklingError, match="nests more than 1000 tuples"):
        unpickle(content)


def test_tuples_as_deep_as_weights_have_them_are_read():
    found, _ = unpickle(nested(900))
    assert len(found) == 1
    whole = pickle.dumps({"a": ((1, (2, [3, ((), {"b": frozenset({4})})])),) * 50, "c": [(n, n) for n in range(3000)]})
    assert unpickle(whole)[0]["c"][-1] == (2999, 2999)
