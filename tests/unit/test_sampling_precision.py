"""What `auto` precision means on a machine."""

import pytest
import torch

from lib.sampling.classifier import exact_arithmetic
from lib.sampling.precision import cpu_flags, resolve


@pytest.mark.parametrize(
    ("device", "flags", "expected"),
    [
        ("cpu", frozenset({"avx2", "avx512f"}), "float32"),
        ("cpu", frozenset({"avx512f", "avx512_bf16"}), "bfloat16"),
        ("cpu", frozenset({"amx_bf16"}), "bfloat16"),
    ],
)
def test_auto_is_bfloat16_only_where_it_is_native(device, flags, expected):
    assert resolve("auto", device, flags=flags) == expected
    assert resolve("float16", device, flags=flags) == "float16"


def test_flags_are_read_from_the_systems_file(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")
    assert cpu_flags(str(file)) == {"fpu", "avx2", "amx_bf16"}
    assert cpu_flags(str(tmp_path / "nothing")) == frozenset()


@pytest.fixture
def said_back():
    """What is said of whole backends is no business of the tests after this one."""
    backends = (torch.backends, torch.backends.cudnn, torch.backends.mkldnn)
    before = [backend.fp32_precision for backend in backends]
    yield
    for backend, precision in zip(backends, before, strict=True):
        backend.fp32_precision = precision
    exact_arithmetic()


@pytest.mark.parametrize(
    "said_before",
    [
        lambda: None,
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.cudnn, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
        lambda: torch.set_float32_matmul_precision("medium"),
    ],
)
def test_float32_means_float32_whatever_was_said_before_and_both_ways_of_asking_agree(said_before, said_back):
    said_before()
    exact_arithmetic()
    backends = torch.backends
    operations = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.conv)
    assert {operation.fp32_precision for operation in (*operations, backends.mkldnn.matmul)} == {"ieee"}
    assert (
        backends.cuda.matmul.allow_tf32 is False and backends.cudnn.allow_tf32 is False
    )  # torch raises if they differ
    assert torch.get_float32_matmul_precision() == "highest"
    assert backends.cudnn.deterministic and not backends.cudnn.benchmark


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float32")])
def test_gpus_without_bfloat16_units_keep_float32(capability, expected):
    assert resolve("auto", "cuda", capability=capability) == expected
