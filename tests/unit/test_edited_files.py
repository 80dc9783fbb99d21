"""Files that people edit: whatever is in them, the error is one of ours, with the file's name, and nothing is executed."""

from pathlib import Path
from random import Random

import pytest

from certflow import presets
from certflow.errors import CertflowError
from certflow.files.yamlfile import read_yaml
from certflow.presets import load_preset
from certflow.report import envelopes
from certflow.report import published as numbers
from certflow.workflow.rates import RATES, read_rates
from tools.fuzz.mutations import mutated


def preset(path):
    presets.FOLDER = path.parent
    load_preset.__wrapped__(path.stem)


READERS = {
    "rates": (RATES, lambda path: read_rates(own=path)),
    "preset": (presets.FOLDER / "cohen2019.yaml", preset),
    "published": (numbers.FOLDER / "fmnist.csv", numbers._table),
    "envelope": (envelopes.FOLDER / "denoised.csv", envelopes._checked),
    "config": (Path(__file__).resolve().parents[1] / "tiny.yaml", read_yaml),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_an_error_of_ours_that_names_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", presets.FOLDER)  # `preset` sets it
    source, read = READERS[name]
    content, path, random = b"".join(source.read_bytes().splitlines(True)[:60]), tmp_path / source.name, Random(5)
    path.write_bytes(content)
    read(path)
    for _ in range(40):
        path.write_bytes(mutated(content, content[::-1], random))
        try:
            read(path)
        except CertflowError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.system [true]", "[" * 1_500, "a: &a [*a]", "\x00", "2001-99-99"]
)
def test_text_that_is_not_plain_yaml_is_refused(text, tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    with pytest.raises(CertflowError, match=str(path)):
        read_rates(own=path)
