"""The C version of the generator: the same bits as torch's, and nothing lost where it cannot be had."""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest
import torch

from certflow.machine import native as c_code
from certflow.noise import philox
from certflow.noise.base import Key
from certflow.noise.fast import agreement, native
from certflow.noise.steps import steps

SEED = 0xFEDCBA9876543210
ROWS = len(agreement.IMAGE)


@pytest.fixture
def without_native(monkeypatch):
    """Calls a function with the C version switched off."""

    def call(function, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(native, "_library", lambda: None)
            return function(*args, **options)

    return call


@pytest.fixture
def fresh(monkeypatch, tmp_path, tmp_path_factory):
    """A user without any compiled library, whose cache is `tmp_path`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A new folder: a library once loaded from a path is what that path gives ever after.
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(c_code, "scratch", lambda: scratch)
    monkeypatch.delenv("CERTFLOW_NATIVE", raising=False)
    native._library.cache_clear()
    yield tmp_path
    native._library.cache_clear()


def has_compiler() -> bool:
    return any(map(c_code.shutil.which, c_code.COMPILERS))


@pytest.mark.parametrize("d", [1, 2, 5, 63, 64, 785, 3072])
@pytest.mark.parametrize("law", [philox.uniforms, philox.signed, philox.normals])
def test_c_and_torch_give_the_same_bits(d, law, without_native):
    if not native.available():
        pytest.skip("no C compiler")
    image = torch.tensor([0, 1, 2**32 - 1, 77, 9999])
    draw = torch.tensor([99_999, 0, 3, 2**32 - 1, 12])
    for stream in (0, 1, 20):
        key = Key(image, draw, seed=SEED, stream=stream)
        assert torch.equal(law(d, key), without_native(law, d, key))


def test_counters_may_be_views(without_native):
    image, draw = torch.arange(40).view(2, 20)[:, ::2].unbind(0)
    assert torch.equal(
        philox.normals(9, Key(image, draw, seed=1, stream=1)),
        without_native(philox.normals, 9, Key(image.clone(), draw.clone(), seed=1, stream=1)),
    )


def test_it_is_compiled_once_and_kept(fresh, monkeypatch):
    if not has_compiler():
        pytest.skip("no C compiler")
    assert native.available()
    (library,) = fresh.rglob("*.so")
    native._library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert native.available()
    assert list(fresh.rglob("*.part")) == [] and library.exists()


def test_no_compiler_means_torch(fresh, monkeypatch):
    monkeypatch.setattr(c_code, "COMPILERS", ("no-such-compiler",))
    assert not native.available()
    assert philox.normals(8, Key(torch.zeros(1).long(), torch.zeros(1).long(), seed=0, stream=0)).shape == (1, 8)


def test_a_failing_compiler_means_torch(fresh, monkeypatch):
    monkeypatch.setattr(c_code, "FLAGS", ("--no-such-flag",))
    assert not native.available()
    assert list(fresh.rglob("*.part")) == []


def test_a_damaged_library_is_not_used(fresh, monkeypatch):
    if not has_compiler():
        pytest.skip("no C compiler")
    assert native.available()
    (library,) = fresh.rglob("*.so")
    content = library.read_bytes()
    library.unlink()  # a new file: the bytes of the loaded one are in use
    library.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    library.chmod(0o500)
    native._library.cache_clear()
    loaded = []
    monkeypatch.setattr(c_code, "_opened", lambda path: loaded.append(path.read_bytes()))
    monkeypatch.setattr(native, "_declare", lambda library: None)
    monkeypatch.setattr(native, "agrees", lambda library: True)
    native._library()
    assert loaded == [content]  # compiled afresh, and the damaged file not even opened as a library


def test_an_unwritable_cache_is_no_error(fresh, monkeypatch):
    if not has_compiler():
        pytest.skip("no C compiler")
    (fresh / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    assert native.available()


def test_it_can_be_turned_off(fresh, monkeypatch):
    monkeypatch.setenv("CERTFLOW_NATIVE", "0")
    assert not native.available()
    assert list(fresh.iterdir()) == []


class Wrong:
    """A library one function of which gets the last bit of its last number wrong."""

    def __init__(self, library, wrong: str, numbers: int, size: int):
        self.library, self.wrong, self.last = library, wrong, (numbers - 1) * size

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(out, *arguments):
            function(out, *arguments)
            if name == self.wrong:
                address = out if isinstance(out, int) else out[3]
                ctypes.c_ubyte.from_address(address + self.last).value ^= 1

        return call


@pytest.mark.parametrize(
    ("function", "numbers", "size"),
    [
        ("certflow_uniforms", ROWS * agreement.GROUPS, 4),
        ("certflow_signed", ROWS * agreement.GROUPS, 4),
        ("certflow_steps", ROWS * 4 * agreement.GROUPS, 2),
        ("certflow_wide", ROWS, 8),
        ("none", 1, 1),
    ],
)
def test_one_wrong_bit_of_any_function_is_found(function, numbers, size):
    library = native._library()
    if library is None:
        pytest.skip("no C compiler")
    assert agreement.agrees(Wrong(library, function, numbers, size)) == (function == "none")


@pytest.mark.parametrize("counter", ["IMAGE", "DRAW"])
def test_a_lost_bit_of_any_counter_is_found(counter, monkeypatch):
    """Numbers of images and draws go up to 2**32 - 1; what takes them for signed ones, or for shorter ones, is not used."""
    library = native._library()
    if library is None:
        pytest.skip("no C compiler")
    image, draw, *key = agreement._counters()
    for bit in range(32):
        lost = getattr(agreement, counter) & ~(1 << bit)
        given = (lost.ctypes.data, draw, *key) if counter == "IMAGE" else (image, lost.ctypes.data, *key)
        monkeypatch.setattr(agreement, "_counters", lambda given=given: given)
        assert not agreement.agrees(library)


CALLS = {
    "uniforms": (philox.uniforms, "fill_floats"),
    "signed": (philox.signed, "fill_floats"),
    "normals": (philox.normals, "fill_floats"),
    "wide_uniforms": (lambda d, key: philox.wide_uniforms(key), "fill_wide_uniforms"),
    "steps": (lambda d, key: steps(d, key, sigma=0.5), "fill_steps"),
}


@pytest.mark.parametrize("draws, fill", CALLS.values(), ids=CALLS)
def test_on_a_cpu_every_kind_of_number_comes_from_c_where_it_can_be_had(draws, fill, monkeypatch):
    key, asked = Key(torch.arange(3), torch.arange(3), seed=1, stream=1), []
    wanted, filled = draws(8, key), getattr(native, fill)
    monkeypatch.setattr(native, fill, lambda *arguments: asked.append(filled(*arguments)) or asked[-1])
    assert torch.equal(draws(8, key), wanted) and asked == [native.available()]


def test_a_library_that_computes_otherwise_is_not_used(fresh, monkeypatch):
    if not has_compiler():
        pytest.skip("no C compiler")
    source = native.source()
    wrong = source.path.read_text().replace("limits[low] <= u", "limits[low] < u")
    assert wrong != source.path.read_text()
    (fresh / "philox.c").write_text(wrong)
    monkeypatch.setattr(native, "source", lambda: c_code.Source(fresh / "philox.c", (*source.flags, "-O0")))
    assert not native.available()


PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { FILE *file = fopen("%s", "w"); fclose(file); }
"""


def plant(folder: Path, mark: Path) -> None:
    """Put a library that marks its being loaded under every name that has been given to one in `folder`."""
    source = mark.with_suffix(".c")
    source.write_text(PLANTED % mark)
    compiler = next(filter(None, map(c_code.shutil.which, c_code.COMPILERS)))
    for path in [*folder.rglob("*.so")]:
        path.unlink()
        subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)


@pytest.mark.parametrize("opened", ["", "certflow"])
def test_a_library_that_another_user_has_put_there_is_never_loaded(fresh, tmp_path_factory, opened):
    if not has_compiler():
        pytest.skip("no C compiler")
    assert native.available()
    mark = tmp_path_factory.mktemp("mark") / "loaded"
    plant(fresh, mark)
    (fresh / opened).chmod(0o777)
    native._library.cache_clear()
    assert native.available() and not mark.exists()


def test_a_library_of_other_bytes_than_its_name_says_is_never_loaded(fresh, tmp_path_factory):
    if not has_compiler():
        pytest.skip("no C compiler")
    assert native.available()
    mark = tmp_path_factory.mktemp("mark") / "loaded"
    plant(fresh, mark)
    native._library.cache_clear()
    assert native.available() and not mark.exists()


def test_nothing_is_kept_in_the_working_directory_nor_without_a_home(fresh, monkeypatch, tmp_path):
    if not has_compiler():
        pytest.skip("no C compiler")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", "home")
    assert native.available() and list(tmp_path.iterdir()) == []


def test_a_library_is_kept_whatever_the_umask(fresh):
    if not has_compiler():
        pytest.skip("no C compiler")
    mask = os.umask(0)
    try:
        assert native.available()
    finally:
        os.umask(mask)
    native._library.cache_clear()
    (library,) = fresh.rglob("*.so")
    made = library.stat().st_mtime_ns
    assert native.available() and [path.stat().st_mtime_ns for path in fresh.rglob("*.so")] == [made]
