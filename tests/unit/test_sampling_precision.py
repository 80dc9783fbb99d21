"""What `auto` precision means on a machine."""

import pytest

from lib.sampling.precision import cpu_flags, resolve


@pytest.mark.parametrize(
    ("device", "flags", "expected"),
    [
        ("cuda", frozenset(), "bfloat16"),
        ("cpu", frozenset({"avx2", "avx512f"}), "float32"),
        ("cpu", frozenset({"avx512f", "avx512_bf16"}), "bfloat16"),
        ("cpu", frozenset({"amx_bf16"}), "bfloat16"),
    ],
)
def test_auto_is_bfloat16_only_where_it_is_native(device, flags, expected):
    assert resolve("auto", device, flags) == expected
    assert resolve("float16", device, flags) == "float16"


def test_flags_are_read_from_the_systems_file(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")
    assert cpu_flags(str(file)) == {"fpu", "avx2", "amx_bf16"}
    assert cpu_flags(str(tmp_path / "nothing")) == frozenset()
