"""The CUDA kernel of the generator without a GPU: the same source by a C++ compiler, and by CUDA's own for real devices."""

import ctypes
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from certflow.noise import Gaussian, GeneralizedGaussian, Laplace, philox
from certflow.noise.base import Key
from certflow.noise.fast import jit, native
from certflow.noise.fast.jit import SOURCES

KEY = ("stream", "key0", "key1")


def library(folder: Path) -> ctypes.CDLL:
    """The functions over flat arrays of counters, compiled for the CPU."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("no C++ compiler")
    wrappers = []
    for name, (_, outputs) in SOURCES.items():
        results = ", ".join(f"out[{number} * n + i]" for number in range(outputs))
        wrappers.append(
            f'extern "C" void run_{name}(const long long* g, const long long* d, const long long* m, long long s, long long a, '
            f"long long b, long long n, long long* out) {{ for (long long i = 0; i < n; ++i) "
            f"certflow_{name}<long long>(g[i], d[i], m[i], s, a, b, {results}); }}"
        )
    source, made = folder / "jit.cpp", folder / "jit.so"
    source.write_text("\n".join([*(code for code, _ in SOURCES.values()), *wrappers]))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    return ctypes.CDLL(str(made))


def caller(found: ctypes.CDLL, name: str):
    """The function as torch's jiterator offers it: on tensors whose shapes broadcast."""

    def call(*counter: torch.Tensor, stream: int, key0: int, key1: int) -> tuple[torch.Tensor, ...]:
        flat = [part.contiguous() for part in torch.broadcast_tensors(*counter)]
        out = torch.zeros(SOURCES[name][1], *flat[0].shape, dtype=torch.int64)
        pointers = [ctypes.c_void_p(part.data_ptr()) for part in flat]
        numbers = [ctypes.c_longlong(value) for value in (stream, key0, key1, flat[0].numel())]
        getattr(found, f"run_{name}")(*pointers, *numbers, ctypes.c_void_p(out.data_ptr()))
        return tuple(out.unbind(0))

    return call


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    found = library(tmp_path_factory.mktemp("jit"))
    return {name: caller(found, name) for name in SOURCES}


def test_the_source_gives_the_same_bits_as_torch(functions):
    assert jit.agree(functions, torch.device("cpu"))


@pytest.mark.parametrize("form", philox.FORMS)
def test_numbers_that_differ_in_one_bit_are_noticed(functions, form):
    def wrong(*counter, **options):
        low, high = functions[form](*counter, **options)
        return low, high ^ (torch.arange(high.numel()).view(high.shape) == 7).long()

    def shifted(*counter, **options):
        return functions["words"](*counter, **{**options, "stream": options["stream"] + 1})

    assert not jit.agree({**functions, form: wrong}, torch.device("cpu"))
    assert not jit.agree({**functions, "words": shifted}, torch.device("cpu"))


@pytest.fixture
def used(functions, monkeypatch) -> set[str]:
    """The names of the functions that are called in place of kernels from here on."""
    found: set[str] = set()

    def noting(name, *counter, **options):
        found.add(name)
        return functions[name](*counter, **options)

    monkeypatch.setattr(jit, "_kernels", lambda device: {name: partial(noting, name) for name in functions})
    return found


@pytest.mark.parametrize(
    "law, form, kernels",
    [
        (Gaussian(sigma=0.5), "sample", {"uniforms"}),
        (Gaussian(sigma=0.5), "steps", {"words"}),
        (GeneralizedGaussian(k=20, sigma=0.5), "sample", {"uniforms", "words"}),
        (Laplace(sigma=0.5), "sample", {"signed"}),
    ],
)
def test_noise_comes_from_the_kernels_and_is_the_noise(law, form, kernels, used, monkeypatch):
    key = Key(torch.tensor([4, 2**32 - 1]), torch.tensor([0, 7]), seed=2**63, stream=1)
    draw = partial(getattr(law, form), (1, 8, 9), key)
    with monkeypatch.context() as patch:
        patch.setattr(jit, "_kernels", lambda device: None)
        wanted = draw()
    monkeypatch.setattr(native, "_library", lambda: None)
    assert torch.equal(draw(), wanted) and used == kernels


def test_words_from_the_kernel_are_the_words(used, monkeypatch):
    image, number = torch.tensor([4, 9, 2**32 - 1]), torch.tensor([0, 7, 2**31])
    draw = partial(philox.words, 18, Key(image, number, seed=2**64 - 1, stream=3))
    with monkeypatch.context() as patch:
        patch.setattr(jit, "_kernels", lambda device: None)
        wanted = draw()
    assert torch.equal(draw(), wanted) and used == {"words"}


def test_wide_uniforms_are_made_of_the_kernels_words_alone(used, monkeypatch):
    key = Key(torch.tensor([4, 9, 2**32 - 1]), torch.tensor([0, 7, 2**31]), seed=2**64 - 1, stream=3)
    monkeypatch.setattr(native, "_library", lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(jit, "_kernels", lambda device: None)
        wanted = philox.wide_uniforms(key, 2)

    def fails(*arguments):
        raise AssertionError("torch made the words once more")

    monkeypatch.setattr(philox, "philox", fails)
    assert torch.equal(philox.wide_uniforms(key, 2), wanted) and used == {"words"}


@pytest.mark.parametrize("name", SOURCES)
def test_torch_can_read_the_source(name):
    from torch.cuda.jiterator import _create_multi_output_jit_fn as create

    made = create(*SOURCES[name], stream=0, key0=0, key1=0)
    assert made.kernel_name == f"certflow_{name}"


@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"])
def test_cudas_compiler_takes_the_source(architecture):
    """NVRTC is part of torch's CUDA builds, and needs no driver."""
    nvrtc = _nvrtc()
    kernels = "\n".join(
        f"template __device__ void certflow_{name}<long long>({', '.join(['long long'] * 6 + ['long long&'] * outputs)});"
        for name, (_, outputs) in SOURCES.items()
    )
    source = "\n".join(f"{code}".replace("\nvoid", "\n__device__ void") for code, _ in SOURCES.values()) + kernels
    program, options = ctypes.c_void_p(), [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"jit.cu", 0, None, None) == 0
    result = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert result == 0, log.value.decode()


def _nvrtc() -> ctypes.CDLL:
    places = Path(torch.__file__).parents[1].glob("nvidia/*/lib/libnvrtc.so.*")
    for place in (*sorted(map(str, places)), "libnvrtc.so"):
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    pytest.skip("this build of torch brings no NVRTC")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("usable", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_kernels_are_for_a_gpu_that_can_be_used_and_never_for_compiled_code(device, usable, compiling, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    monkeypatch.setattr(jit, "_made", lambda device: f"kernels of {device}")
    wanted = "kernels of cuda" if device == "cuda" and usable and not compiling else None
    assert jit._kernels(torch.device(device)) == wanted


def test_when_told_so_torch_does_the_work(monkeypatch, capsys):
    monkeypatch.setenv("CERTFLOW_NATIVE", "0")
    assert jit._made.__wrapped__(torch.device("cuda")) is None and capsys.readouterr().err == ""


@pytest.mark.parametrize("said, reason", [("nvrtc: error\nin line 3", "nvrtc: error\n"), ("", "RuntimeError\n")])
def test_a_kernel_that_cannot_be_made_is_done_without(said, reason, monkeypatch, capsys):
    import torch.cuda.jiterator

    def refuse(*_, **__):
        raise RuntimeError(said)

    monkeypatch.delenv("CERTFLOW_NATIVE", raising=False)
    monkeypatch.setattr(torch.cuda.jiterator, "_create_multi_output_jit_fn", refuse)
    assert jit._made.__wrapped__(torch.device("cuda")) is None
    assert capsys.readouterr().err.endswith(f"more slowly: {reason}")


def test_kernels_are_compiled_in_private_and_compared_on_their_own_device(monkeypatch):
    """What is made takes stream and key by name, and is tried with counters of the device that it is for."""
    import torch.cuda.jiterator

    happened = []

    def create(code, outputs, **inputs):
        assert happened[0] == "private" and (code, outputs) in SOURCES.values() and inputs == dict.fromkeys(KEY, 0)
        return lambda *counter, **given: happened.append(({part.device.type for part in counter}, tuple(given)))

    monkeypatch.delenv("CERTFLOW_NATIVE", raising=False)
    monkeypatch.setattr(jit, "keep_compilers_private", lambda: happened.append("private"))
    monkeypatch.setattr(torch.cuda.jiterator, "_create_multi_output_jit_fn", create)
    assert jit._made.__wrapped__(torch.device("meta")) is None
    assert happened == ["private", ({"meta"}, KEY)]


def test_kernels_are_used_if_they_give_the_right_numbers_and_only_then(functions, monkeypatch, capsys):
    import torch.cuda.jiterator

    monkeypatch.delenv("CERTFLOW_NATIVE", raising=False)
    made = {code: functions[name] for name, (code, _) in SOURCES.items()}
    monkeypatch.setattr(torch.cuda.jiterator, "_create_multi_output_jit_fn", lambda code, *_, **__: made[code])
    assert jit._made.__wrapped__(torch.device("cpu")) == functions and capsys.readouterr().err == ""
    made[SOURCES["words"][0]] = lambda *counter, **options: functions["words"](*counter[::-1], **options)
    assert jit._made.__wrapped__(torch.device("cpu")) is None
    assert "more slowly: its numbers are wrong" in capsys.readouterr().err
    made[SOURCES["words"][0]] = lambda *counter, **options: functions["words"](*counter, **options)[:3]
    assert jit._made.__wrapped__(torch.device("cpu")) is None, "a word is missing"


def test_lanes_are_unpacked_in_order():
    bits = np.array([0.25, 0.5, 0.75, 0.125], np.float32).view(np.uint32).astype(np.int64)
    low, high = torch.tensor([[bits[0] | bits[1] << 32]]), torch.tensor([[bits[2] | bits[3] << 32]])
    assert [float(lane) for lane in jit.unpacked(low, high)] == [0.25, 0.5, 0.75, 0.125]
