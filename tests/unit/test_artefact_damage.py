"""No damage to a file of ours goes unnoticed, whatever its format, and nothing but an ArtefactError tells of it."""

import errno
import hashlib
import io
import json
import os
import re
import tracemalloc
import zipfile
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd
import pytest

from certflow.errors import ArtefactError, UnreadableError
from certflow.files.artefact import (
    read_arrays,
    read_arrays_record,
    read_picture,
    read_provenance,
    read_record,
    read_table,
    sidecar,
    write_arrays,
    write_pictures,
    write_record,
    write_table,
    write_text_table,
)
from certflow.files.formats import FORMATS, require_layout
from certflow.files.intact import reading
from certflow.files.npz import MARK, SEAL, pack
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors, write_tensors
from certflow.models.header import read_header
from tools.fuzz.__main__ import main
from tools.fuzz.mutations import MUTATIONS, mutated
from tools.fuzz.samples import SAMPLES
from tools.fuzz.trials import OUTCOMES, Tally, fingerprint, fuzz, without_sample

RECORD = Provenance("predictions", {"n": 3}, {"model": "a" * 64}, notes={"seconds": 1.5}, facts={"beta_end": 0.02})
COUNTS = {"counts": np.arange(6).reshape(2, 3)}


def test_every_format_has_a_sample():
    """A new format is listed in lib/certflow/files/formats.py, and damaged by tools/fuzz/samples.py from its first day."""
    assert without_sample() == []


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_damaged_files_are_refused_or_read_as_they_were_written(name, tmp_path):
    tally = fuzz(name, 500, 20_260, tmp_path)
    assert tally.examples == {}
    assert tally.counts.total() == 500 and tally.counts["refused"] >= 450


@pytest.mark.parametrize("name", ["counts", "model", "plan", "dataset"])
def test_every_kind_of_mutation_changes_something(name, tmp_path):
    (tmp_path / "number").write_text("0")
    SAMPLES[name].make(tmp_path, 0)
    content = SAMPLES[name].files(tmp_path)[0].read_bytes()
    random = Random(1)
    for mutation in MUTATIONS:
        assert any(mutation(content, content[::-1], random) != content for _ in range(20)), mutation.__name__
    assert all(mutated(content, content[::-1], random) != content for _ in range(50))


def test_the_fuzzer_prints_a_table_goes_on_where_it_was_and_fails_where_a_change_was_accepted(tmp_path, capsys):
    done = tmp_path / "done.jsonl"
    arguments = ["--mutations", "60", "--formats", "figure", "--processes", "1", "--done", str(done)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert re.search("figure +500 ", first) and "no change was accepted" in first
    assert len(done.read_text().splitlines()) == 1
    before = done.stat().st_mtime_ns
    assert main(arguments) == 0 and capsys.readouterr().out == first and done.stat().st_mtime_ns == before
    line = json.loads(done.read_text())
    line["counts"]["changed"] = 1
    line["examples"] = {"changed": "seed 0, mutation 7"}
    done.write_text(json.dumps(line) + '\n{"format": "figure", "se')
    assert main(arguments) == 1
    assert "figure: changed: seed 0, mutation 7" in capsys.readouterr().out


def test_the_fuzzer_does_not_praise_what_it_did_not_try(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--mutations", "0", "--done", str(tmp_path / "done.jsonl")])
    assert "--mutations: at least 1" in capsys.readouterr().err


def test_a_reader_that_trusts_its_file_is_found_out(tmp_path, monkeypatch):
    def trusting(folder):
        return (folder / "p_a.svg").read_bytes().decode()

    monkeypatch.setitem(SAMPLES, "figure", replace(SAMPLES["figure"], read=trusting))
    tally = fuzz("figure", 200, 0, tmp_path)
    assert set(tally.examples) == set(OUTCOMES[2:]) and "UnicodeDecodeError" in tally.examples["other error"]


def test_fingerprints_tell_types_shapes_and_bits_apart():
    values = [
        *(np.zeros(2), np.zeros(2, np.float32), np.zeros((1, 2)), np.array([0.0, -0.0])),
        *(1, 1.0, "1", None, [1], [[1]], {"a": 1}, {"b": 1}, Tally()),
    ]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("field", ["spec", "parents", "facts", "notes", "device", "versions", "format"])
def test_every_field_of_a_record_is_under_its_checksum(field, tmp_path):
    path = tmp_path / "record.json"
    write_record(path, RECORD)
    assert read_record(path, format="predictions") == RECORD
    stated = json.loads(path.read_text())
    stated[field] = "cuda" if isinstance(stated[field], str) else {**stated[field], "x": "y"}
    path.write_text(json.dumps(stated))
    with pytest.raises(ArtefactError, match=r"record\.json: its provenance record was altered .*delete"):
        read_record(path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{", "[" * 100_000, '{"a":' * 100_000, "\x00", '{"format": 1}'),
        *('{"checksum": "' + "0" * 64 + '"}', "9" * 10_000, '{"spec": NaN}'),
    ],
)
def test_text_that_is_not_a_record_is_refused_in_one_way(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"record\.json: is damaged \(.*\); delete it and run again"):
        read_record(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("parents", {"data": 3}), ("spec", []), ("notes", None), ("device", 1), ("digest", "f")),
        *(("content", {".tsv": "x"}), ("format_version", "1"), ("more", {}), ("spec", {"a": float("inf")})),
    ],
)
def test_types_inside_a_record_are_checked(field, value, tmp_path):
    path = tmp_path / "record.json"
    write_record(path, RECORD)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ArtefactError, match=r"record\.json: is damaged"):
        read_record(path)


READERS = {
    "arrays": (read_arrays, "x.npz"),
    "arrays' record": (read_arrays_record, "x.npz"),
    "table": (read_table, "x.tsv"),
    "table's record": (read_provenance, "x.tsv"),
    "picture": (read_picture, "x.svg"),
    "record": (read_record, "x.json"),
    "tensors": (read_tensors, "x.safetensors"),
    "header": (read_header, "x.safetensors"),
}


@pytest.mark.parametrize("case", ["missing", "folder", "pipe", "empty", "unreadable"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_and_no_reader_waits_for_a_pipe(reader, case, tmp_path, monkeypatch):
    read, name = READERS[reader]
    path = tmp_path / name
    write_record(sidecar(path), replace(RECORD, format="figure"), {path.suffix: "0" * 64})
    if case == "unreadable":
        path.write_bytes(b"x")
        monkeypatch.setattr(os, "open", _denied)
    path.unlink(missing_ok=True)
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "empty": path.touch}.get(case, lambda: None)()
    with pytest.raises(ArtefactError, match=str(path.with_suffix(""))) as refused:
        read(path)
    assert isinstance(refused.value, UnreadableError) == (case == "unreadable"), "only what may be whole is to be kept"
    assert case != "unreadable" or "delete" not in str(refused.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_nobody_is_told_to_delete_what_the_system_does_not_give_out(number, tmp_path):
    with pytest.raises(
        UnreadableError, match=f"x: could not be read .{os.strerror(number)}.; it may be whole, so keep it"
    ):
        with reading(tmp_path / "x"):
            raise OSError(number, os.strerror(number))
    for damaged in (OSError("no errno"), OSError(errno.EINVAL, "seek to -3")):
        with pytest.raises(ArtefactError, match="x: is damaged .*; delete it"), reading(tmp_path / "x"):
            raise damaged


def _denied(*_):
    raise PermissionError(13, os.strerror(13))


def bomb(size: int) -> bytes:
    """A `.npy` file of `size` zeros."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.uint8)) | {"shape": (size,)}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(size)


def seal(path) -> None:
    """Give an archive the checksum that its present bytes would have."""
    content = path.read_bytes()
    body = content[:-SEAL] if content[-SEAL:].startswith(MARK) else content[:-2] + SEAL.to_bytes(2, "little")
    path.write_bytes(body + MARK + hashlib.sha256(body).hexdigest().encode())


def peak(path) -> int:
    """Bytes that reading takes at most until it is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtefactError, match=r"x\.npz"):
            read_arrays(path, format="predictions")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("case", ["more", "longer", "images"])
def test_a_small_file_that_expands_to_much_is_refused_before_it_does(case, sealed, tmp_path):
    """Arrays that nobody asks for, a member longer than its header says, and more rows than there are images."""
    path, size = tmp_path / "x.npz", 100_000_000
    layout = {"idx": np.arange(2), "label": np.arange(2), "seconds": np.zeros(2), **COUNTS}
    write_arrays(path, layout, replace(RECORD, format="shard"))
    content = bomb(size)
    if case == "longer":
        content = bomb(2)[:128] + bytes(size)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("drawn.npy" if case == "images" else "more.npy", content)
    if sealed:
        seal(path)
    assert path.stat().st_size < 1_000_000
    assert peak(path) < 10_000_000


def test_a_sealed_header_that_promises_more_than_there_is_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    header = bomb(0)[:128].replace(b"(0,), ", b"(9999999999999,), ")[:128]
    write_arrays(path, COUNTS, RECORD)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", header[:-1] + b"\n")
    seal(path)
    assert peak(path) < 1_000_000


def test_objects_are_neither_written_nor_unpickled(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(ValueError, match="array counts: type object is not stored"):
        write_arrays(path, {"counts": np.array([print], dtype=object)}, RECORD)
    assert not path.exists()
    np.savez_compressed(path, counts=np.array([print], dtype=object), provenance=np.array(RECORD.to_json()))
    with pytest.raises(ArtefactError, match="does not end with the checksum"):
        read_arrays(path)
    seal(path)
    with pytest.raises(ArtefactError, match="is damaged"):
        read_arrays(path)


def test_equal_arrays_give_equal_bytes_that_numpy_reads(tmp_path):
    arrays = {"counts": np.asfortranarray(COUNTS["counts"]), "text": np.array(["a", "bc"]), "none": np.zeros((2, 0))}
    write_arrays(tmp_path / "a.npz", arrays, RECORD)
    write_arrays(tmp_path / "b.npz", arrays, RECORD)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:  # no time of writing
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(tmp_path / "a.npz") as file:
        assert np.array_equal(file["counts"], arrays["counts"])
    with open(tmp_path / "c.npz", "w+b") as file:
        pack(file, arrays, RECORD.to_json())
    found, record = read_arrays(tmp_path / "c.npz")
    assert record == RECORD and found["counts"].flags.writeable
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in arrays)


@pytest.mark.parametrize(
    ("name", "found", "message"),
    [
        ("counts", {"idx": ("i", (2,)), "counts": ("i", (2, 3))}, "lacks seconds"),
        ("predictions", {"counts": ("f", (2, 3))}, "counts is of type 'f', not whole"),
        ("predictions", {"counts": ("u", (2,))}, r"counts is \[2\], not \[images, classes\]"),
        ("predictions", {"counts": ("u", (2, 3)), "more": ("f", (3,))}, r"more is \[3\], but there are 2 images"),
        ("partial counts", {"counts": ("i", (2, 3)), "seconds": ("f", (3,))}, "but there are 2 images"),
        ("training log", {"epoch": ("f", (2,))}, "lacks seconds"),
    ],
)
def test_what_a_format_must_hold_is_checked(name, found, message):
    with pytest.raises(ValueError, match=message):
        require_layout(name, found)


def test_an_intact_file_that_does_not_hold_what_its_format_needs_is_named(tmp_path):
    write_arrays(tmp_path / "x.npz", {"counts": np.zeros((2, 3))}, RECORD)
    with pytest.raises(ArtefactError, match=r"x\.npz: is not a valid predictions \(counts is of type 'f'"):
        read_arrays(tmp_path / "x.npz")
    write_text_table(tmp_path / "x.tsv", "epoch\tseconds\n0\t1.5\n", replace(RECORD, format="training log"))
    with pytest.raises(ArtefactError, match=r"x\.tsv: is not a valid training log \(it lacks lr"):
        read_table(tmp_path / "x.tsv")


@pytest.mark.parametrize("name", ["counts", "nobody's"])
def test_writers_refuse_a_format_that_is_not_listed_for_their_container(name, tmp_path):
    record = replace(RECORD, format=name)
    writers = [
        lambda path: write_table(path, None, record) if name != "counts" else write_text_table(path, "", record),
        lambda path: write_tensors(path, {}, record),
        lambda path: write_pictures([path], [b""], record),
    ]
    for write in writers[1:] if name != "counts" else writers:
        with pytest.raises(ValueError, match="lib/certflow/files/formats"):
            write(tmp_path / "x.bin")
    assert not list(tmp_path.iterdir())


def test_pictures_of_other_names_do_not_share_a_record(tmp_path):
    with pytest.raises(ValueError, match="only files of one name share a record"):
        write_pictures([tmp_path / "a.svg", tmp_path / "b.pdf"], [b"", b""], replace(RECORD, format="figure"))


def test_a_table_may_not_be_read_by_a_record_of_another_table(tmp_path):
    record = replace(RECORD, format="training log")
    for name in "ab":
        write_text_table(tmp_path / f"{name}.tsv", f"epoch\n{ord(name)}\n", record)
    sidecar(tmp_path / "a.tsv").write_bytes(sidecar(tmp_path / "b.tsv").read_bytes())
    with pytest.raises(ArtefactError, match=r"a\.tsv: differs from what was written"):
        read_provenance(tmp_path / "a.tsv")


def test_facts_are_part_of_a_model_s_identity(tmp_path):
    """Such as the noise schedule of a denoiser brought along: other facts, another function of the same weights."""
    found = set()
    for facts in ({"beta_end": 0.02}, {"beta_end": 0.07}):
        record = Provenance("model", {}, facts=facts)
        write_tensors(tmp_path / "m.safetensors", {}, record)
        found |= {read_header(tmp_path / "m.safetensors")[1], record.digest}
    assert len(found) == 4


@pytest.mark.parametrize("name", ["007", "1e3", "0.25", "NA", "null", "nan", "", "None", "-inf"])
def test_names_are_read_as_they_were_written(tmp_path, name):
    """Where all of a column looks like numbers, or like something unknown, it would be read as that."""
    known = {"method": name, "noise": name, "norm": "l2", "images": "test", "seeds": name, "counts": "", "digests": "0"}
    rows = pd.DataFrame([{**known, "n_images": 3, "n": 5, "sigma": np.nan, "alpha": 0.1, "draws": np.inf}] * 2)
    write_table(tmp_path / "t.tsv", rows, Provenance(format="estimate", spec={}))
    found, _ = read_table(tmp_path / "t.tsv", format="estimate")
    assert found.to_dict("list").items() >= {**{key: [value] * 2 for key, value in known.items()}, "n": [5, 5]}.items()
    assert found["sigma"].isna().all() and np.isinf(found["draws"]).all()
