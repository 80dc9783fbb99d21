"""The CUDA version of the generator: ten rounds in one kernel, where torch's integer operations are a hundred.

It gives the same bits as the torch versions (`certflow.noise.philox`), which a comparison on the device makes sure of at
first use; where it cannot be compiled they do the work, so that whether it was available is not part of a result. Torch
compiles it (`torch.cuda.jiterator`), with nothing but its own libraries. `CERTFLOW_NATIVE=0` turns it off.

Elements of tensors are counters here: (group, draw, image) of shapes that broadcast, int64 below 2**32.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache

import torch

from certflow.machine.compilers import keep_compilers_private
from certflow.noise.fast.agreement import DRAW, IMAGE, SEED, STREAM
from certflow.noise.fast.native import Form
from certflow.noise.grid import HIGH_STREAM

ROUNDS = """
    unsigned int c0 = (unsigned int) group, c1 = (unsigned int) draw, c2 = (unsigned int) image, c3 = (unsigned int) stream;
    unsigned int k0 = (unsigned int) key0, k1 = (unsigned int) key1;
    for (int round = 0; round < 10; ++round) {
        unsigned long long p = (unsigned long long) c0 * 0xD2511F53u, q = (unsigned long long) c2 * 0xCD9E8D57u;
        c0 = (unsigned int) (q >> 32) ^ c1 ^ k0;
        c1 = (unsigned int) q;
        c2 = (unsigned int) (p >> 32) ^ c3 ^ k1;
        c3 = (unsigned int) p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
"""
"""As in philox.c."""

WORDS = f"""template <typename T>
void certflow_words(T group, T draw, T image, T stream, T key0, T key1, T& w0, T& w1, T& w2, T& w3) {{{ROUNDS}
    w0 = c0;
    w1 = c1;
    w2 = c2;
    w3 = c3;
}}"""

UNIT = """
        u.value = ((float) words[lane] + 0.5f) * 2.3283064365386963e-10f;
        u.value = u.value < 0.99999994f ? u.value : 0.99999994f;
        bits[lane] = u.bits;"""
SIGNED_UNIT = """
        u.value = ((float) (int) (words[lane] & 0x7FFFFFFFu) + 0.5f) * 4.656612873077393e-10f;
        u.value = u.value < 0.99999994f ? u.value : 0.99999994f;
        bits[lane] = u.bits | (words[lane] & 0x80000000u);"""
"""Every operation on floats is a single correctly rounded one, and none can be contracted."""


def floats(name: str, convert: str) -> str:
    """The source of a function that turns each word into a float32, two of which go into each int64."""
    return f"""template <typename T>
void certflow_{name}(T group, T draw, T image, T stream, T key0, T key1, T& low, T& high) {{{ROUNDS}
    unsigned int words[4] = {{c0, c1, c2, c3}};
    unsigned long long bits[4];
    for (int lane = 0; lane < 4; ++lane) {{
        union {{ float value; unsigned int bits; }} u;{convert}
    }}
    low = (T) (bits[0] | bits[1] << 32);
    high = (T) (bits[2] | bits[3] << 32);
}}"""


SOURCES = {
    "words": (WORDS, 4),
    "uniforms": (floats("uniforms", UNIT), 2),
    "signed": (floats("signed", SIGNED_UNIT), 2),
}
"""Name → source and number of outputs. The forms are those of `certflow.noise.philox.FORMS`."""

Counter = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def words(
    counter: Counter, key: tuple[int, int], stream: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """The four 32-bit words as int64 of the common shape; None where the kernel is not available."""
    kernels = _kernels(counter[0].device)
    return None if kernels is None else kernels["words"](*counter, stream=stream, key0=key[0], key1=key[1])


def values(form: Form, counter: Counter, key: tuple[int, int], stream: int) -> tuple[torch.Tensor, ...] | None:
    """The variates float32 [rows, groups] of the four lanes; None where the kernel is not available."""
    kernels = _kernels(counter[0].device)
    if kernels is None:
        return None
    return unpacked(*kernels[form](*counter, stream=stream, key0=key[0], key1=key[1]))


def unpacked(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The four lanes from what the functions of `floats` write."""
    return tuple(pair.view(torch.float32)[..., lane::2] for pair in (low, high) for lane in range(2))


def _kernels(device: torch.device) -> dict[str, Callable] | None:
    """The functions by name, once they have been compared with torch's on this device."""
    if device.type != "cuda" or torch.compiler.is_compiling() or not torch.cuda.is_available():
        return None
    return _made(device)


@cache
def _made(device: torch.device) -> dict[str, Callable] | None:
    if os.environ.get("CERTFLOW_NATIVE") == "0":
        return None
    try:
        from torch.cuda.jiterator import _create_multi_output_jit_fn as create

        keep_compilers_private()
        made = {name: create(code, outputs, stream=0, key0=0, key1=0) for name, (code, outputs) in SOURCES.items()}
        wrong = not agree(made, device)
    # An interface that torch calls beta may fail in any way; then torch's operations do the work.
    except Exception as error:
        wrong, reason = True, (str(error).splitlines() or [type(error).__name__])[0]
    else:
        reason = "its numbers are wrong"
    if wrong:
        print(f"noise comes from torch's operations, more slowly: {reason}", file=sys.stderr)
        return None
    return made


def agree(made: Mapping[str, Callable], device: torch.device) -> bool:
    """Whether all functions give what torch's operations give."""
    from certflow.noise import philox

    image, draw = (torch.from_numpy(words).to(device) for words in (IMAGE, DRAW))
    counter, key = (image[None, :], draw[:, None], image[:, None]), (SEED & philox.MASK, SEED >> 32)
    for stream in (STREAM, STREAM + HIGH_STREAM):
        options = {"stream": stream, "key0": key[0], "key1": key[1]}
        wanted = philox.philox((*counter, torch.full_like(counter[0], stream)), key)
        for form, convert in philox.FORMS.items():
            found = unpacked(*made[form](*counter, **options))
            if not all(torch.equal(a, convert(b)) for a, b in zip(found, wanted, strict=True)):
                return False
        if not all(torch.equal(a, b) for a, b in zip(made["words"](*counter, **options), wanted, strict=True)):
            return False
    return True
