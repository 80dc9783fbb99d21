"""Which class a folder is: by position, by name, by number; some of the classes only."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.numbering import read_index, read_names
from certflow.errors import DataError


@pytest.fixture
def tree(tmp_path):
    for name in map(str, range(12)):
        folder = tmp_path / "test" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.full((2, 2), 10 * int(name), np.uint8)).save(folder / "0.png")
    return tmp_path


def labels(tree, **fields):
    """Class → brightness of its image."""
    entry = ImageFolder(root=str(tree), shape=[1, 2, 2], only="test", **{"classes": 12, **fields})
    split = entry.read("test", tree)
    return dict(zip(split.labels.tolist(), split.read(np.arange(len(split)))[:, 0, 0, 0].tolist(), strict=True))


NUMBERS = {number: 10 * number for number in range(12)}


def test_folders_are_numbered_by_sorted_name_unless_said_otherwise(tree):
    assert labels(tree) == {i: 10 * int(name) for i, name in enumerate(sorted(map(str, range(12))))}
    assert labels(tree, class_index="numbers") == NUMBERS
    assert labels(tree, class_names=[str(i) for i in range(12)]) == NUMBERS
    assert labels(tree, class_index={str(i): 11 - i for i in range(12)}) == {11 - i: 10 * i for i in range(12)}


def test_some_of_the_classes_keep_their_numbers(tree):
    for name in ("0", "1", "3", "4", "6", "7", "8", "10", "11"):
        shutil.rmtree(tree / "test" / name)
    wanted = {2: 20, 5: 50, 9: 90}
    assert labels(tree, class_index="numbers") == wanted
    assert labels(tree, class_names=[str(i) for i in range(12)]) == wanted
    assert labels(tree, class_index={"2": 2, "5": 5, "9": 9}, classes=1000) == wanted
    assert labels(tree, classes=3) == {0: 20, 1: 50, 2: 90}
    with pytest.raises(DataError, match="has 3 class folders .* say which by class_index or class_names"):
        labels(tree)


def test_names_and_numbers_are_read_from_files_and_become_part_of_the_entry(tree):
    file = tree / "classes"
    for content in ("\n".join(map(str, range(12))), json.dumps([str(i) for i in range(12)])):
        file.write_text(content)
        assert labels(tree, class_names=str(file)) == NUMBERS
    for content in ({str(i): i for i in range(12)}, {str(i): [str(i), "name"] for i in range(12)}):
        file.write_text(json.dumps(content))
        assert labels(tree, class_index=str(file)) == NUMBERS
    entry = ImageFolder(root=str(tree), shape=[1, 2, 2], only="test", classes=12, class_index=str(file))
    assert entry.canonical()["class_index"] == {str(i): i for i in range(12)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_names": ["a", "b"], "class_index": {"a": 0}}, "give one of them"),
        ({"class_names": ["a"] * 12}, "listed twice"),
        ({"class_names": ["a", "b"]}, "lists 2 names, but classes is 12"),
        ({"class_index": {}}, "at least 1 item"),
        ({"class_index": {"a": 0, "b": 0}}, "two folders have the same number"),
        ({"class_index": {"a": 12}}, "has the number 12, but classes is 12"),
        ({"class_index": {"a": -1}}, "greater than or equal to 0"),
        ({"class_names": "no/such/file"}, "no/such/file: cannot be read"),
        ({"class_index": "no/such/file"}, "no/such/file: cannot be read"),
    ],
)
def test_entries_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        ImageFolder(shape=[1, 2, 2], classes=12, **fields)


@pytest.mark.parametrize("text", ['{"a": 0, "b": 1, "a": 2}', '{"0": "x", "0": "y"}'])
def test_an_index_with_one_key_twice_is_refused(tmp_path, text):
    """Parsers take the last one: a folder would be another class than its line says."""
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValidationError, match="must hold a JSON mapping .*'[a0]' is written twice in one object"):
        ImageFolder(shape=[1, 2, 2], classes=12, class_index=str(tmp_path / "index.json"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"class_index": "numbers", "classes": 11},
            "test/11: with class_index: numbers, class folders are called 0 to 10",
        ),
        ({"class_index": {"0": 0}}, "test/1: class_index does not name this class folder"),
        ({"class_names": [chr(97 + i) for i in range(12)]}, "test/0: class_names does not name this class folder"),
    ],
)
def test_folders_that_are_not_named_are_refused(tree, fields, message):
    with pytest.raises(DataError, match=message):
        labels(tree, **fields)


def test_two_folders_of_one_number_are_refused(tree):
    Path(tree / "test/11").rename(tree / "test/01")
    with pytest.raises(DataError, match="two class folders stand for the number 1"):
        labels(tree, class_index="numbers")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\ndog\n", encoding="utf-8")
    assert read_names(str(path)) == ["cat", "dog"]
    path.write_text('\ufeff{"0": ["n01", "cat"], "1": ["n02", "dog"]}', encoding="utf-8")
    assert read_index(str(path)) == {"n01": 0, "n02": 1}


@pytest.mark.parametrize("second", ["cat", ["cat", "a cat"], None, [], {}, [["dog"]]])
def test_an_index_gives_each_number_a_folder_of_its_own(tmp_path, second):
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"0": "cat", "1": second}))
    with pytest.raises(ValueError, match="index.json: 1: must be the name of a folder that no other number has"):
        read_index(str(path))


@pytest.mark.parametrize("place", ["pipe", "folder", "~nobody-9/x", "none", "x" * 300])
def test_names_that_cannot_be_read_are_an_error_that_says_so(pipe_and_folder, place):
    with pytest.raises(ValueError, match="cannot be read"):
        read_names(place)
