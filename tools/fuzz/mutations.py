"""Ways in which a file may be damaged: on a disk, in a transfer, by an editor, or by somebody who knows its format."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Mutation = Callable[[bytes, bytes, Random], bytes]
"""(content, content of another valid file of the same kind, random numbers) → damaged content."""

SIZES = (b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\x00\x00\x01\x00")
"""Numbers that sizes and offsets are confused by."""
WORDS = (
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-1",
    b"1e999",
    b"[]",
    b"{}",
    b'""',
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"\r\n",
)


def flip_bits(content: bytes, other: bytes, random: Random) -> bytes:
    """One to eight bits anywhere."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, other: bytes, random: Random) -> bytes:
    """Some bytes by random ones, or by a size that does not fit."""
    new = random.choice((random.randbytes(random.randint(1, 16)), random.choice(SIZES)))
    start = random.randrange(len(content))
    return content[:start] + new + content[start + len(new) :]


def truncate(content: bytes, other: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: random.randrange(len(content))]


def behead(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning is missing."""
    return content[random.randint(1, len(content)) :]


def insert(content: bytes, other: bytes, random: Random) -> bytes:
    """Foreign bytes or a word somewhere in between, or at the end."""
    start = random.choice((random.randint(0, len(content)), len(content)))
    new = random.choice((random.randbytes(random.randint(1, 64)), random.choice(WORDS)))
    return content[:start] + new + content[start:]


def delete(content: bytes, other: bytes, random: Random) -> bytes:
    """A range is missing."""
    start, end = _range(content, random)
    return content[:start] + content[end:]


def duplicate(content: bytes, other: bytes, random: Random) -> bytes:
    """A range occurs again, there or elsewhere."""
    start, end = _range(content, random)
    place = random.choice((end, random.randint(0, len(content))))
    return content[:place] + content[start:end] + content[place:]


def copy_over(content: bytes, other: bytes, random: Random) -> bytes:
    """A range is overwritten by another of the same length."""
    start, end = _range(content, random)
    place = random.randint(0, len(content) - (end - start))
    return content[:place] + content[start:end] + content[place + end - start :]


def exchange(content: bytes, other: bytes, random: Random) -> bytes:
    """Two neighbouring ranges change places."""
    a, b, c = sorted(random.randint(0, len(content)) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of this file and the end of another."""
    return content[: random.randint(0, len(content))] + other[random.randint(0, len(other)) :]


def swap(content: bytes, other: bytes, random: Random) -> bytes:
    """Another file of the same kind."""
    return other


def digit(content: bytes, other: bytes, random: Random) -> bytes:
    """Another digit, as in an edited number."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return flip_bits(content, other, random)
    place = random.choice(places)
    return content[:place] + bytes([random.randint(48, 57)]) + content[place + 1 :]


def nest(content: bytes, other: bytes, random: Random) -> bytes:
    """Brackets without end, where a parser may recurse."""
    start = random.randint(0, len(content))
    return content[:start] + random.choice((b"[", b'{"a":', b"(")) * random.randint(100, 5_000) + content[start:]


def edit_json(content: bytes, other: bytes, random: Random) -> bytes:
    """A value in a record is changed, dropped or added, and all else kept as a writer would have it."""
    start, end = _json(content)
    if start == end:
        return digit(content, other, random)
    try:
        value = json.loads(content[start:end])
    except (ValueError, RecursionError):
        return flip_bits(content, other, random)
    text = json.dumps(_edited(value, random), sort_keys=True, separators=(",", ":")).encode()
    if start:  # in a safetensors file, after the length of its header
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + content[end:]
    return text + b"\n"


@dataclass
class _Member:
    """One file of an archive."""

    name: str
    content: bytes


def edit_zip(content: bytes, other: bytes, random: Random) -> bytes:
    """A member of an archive is changed, dropped, doubled or exchanged with another, and the archive is packed anew."""
    if not content.startswith(b"PK"):
        return edit_json(content, other, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [_Member(info.filename, archive.read(info)) for info in archive.infolist()]
        comment = archive.comment
    one, two = random.choice(members), random.choice(members)
    what = random.choice(("change", "change", "drop", "double", "exchange", "rename"))
    if what == "change":
        change = random.choice((flip_bits, digit, overwrite, truncate, edit_json))
        one.content = change(one.content, one.content, random)
    elif what == "exchange":
        one.content, two.content = two.content, one.content
    elif what == "drop":
        members.remove(one)
    elif what == "double":
        members.append(_Member(f"{one.name}.npy", one.content))
    else:
        one.name = f"{two.name}_"
    return _packed(members, random.choice((comment, b"")))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    overwrite,
    truncate,
    behead,
    insert,
    delete,
    duplicate,
    copy_over,
    exchange,
    splice,
    swap,
    digit,
    nest,
    edit_json,
    edit_zip,
)


def mutated(content: bytes, other: bytes, random: Random) -> bytes:
    """The content, damaged in one of all ways; never as it was."""
    while True:
        changed = random.choice(MUTATIONS)(content, other, random)
        if changed != content:
            return changed


def _range(content: bytes, random: Random) -> tuple[int, int]:
    """Start and end of a range that is not empty, and mostly short."""
    start = random.randrange(len(content))
    return start, min(len(content), start + random.choice((1, random.randint(1, 64), random.randint(1, len(content)))))


def _json(content: bytes) -> tuple[int, int]:
    """Where a record stands in a file of ours: all of it, or the header of a safetensors file; (0, 0) for none."""
    if content[:1] == b"{":
        return 0, len(content)
    if len(content) > 9 and content[8:9] == b"{":
        return 8, 8 + int.from_bytes(content[:8], "little")
    return 0, 0


def _edited(value: object, random: Random) -> object:
    """A plain value with one thing in it changed; records within strings are edited too."""
    if isinstance(value, dict) and value:
        key = random.choice(sorted(value))
        what = random.choice(("in", "in", "in", "in", "drop", "add"))
        if what == "drop":
            return {name: one for name, one in value.items() if name != key}
        return {**value, **({f"{key}_": value[key]} if what == "add" else {key: _edited(value[key], random)})}
    if isinstance(value, list) and value:
        place = random.randrange(len(value))
        return [*value[:place], _edited(value[place], random), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("{"):
        return json.dumps(_edited(json.loads(value), random), sort_keys=True, separators=(",", ":"))
    others = (0, -1, 10**30, 1.5, "", "x", None, True, [], {}, str(value), [value])
    return value + 1 if isinstance(value, int | float) and random.random() < 0.5 else random.choice(others)


def _packed(members: list[_Member], comment: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(zipfile.ZipInfo(member.name, (1980, 1, 1, 0, 0, 0)), member.content, zipfile.ZIP_DEFLATED)
        archive.comment = comment
    return buffer.getvalue()
