"""Image files of every kind of colour, depth, transparency, orientation and name: read as documented, or refused."""

import os
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.pixels import Rendering
from certflow.data.store import prepare
from certflow.errors import DataError

SIDE = 4
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
GREY = RGB.convert("L")


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(bits: int, colour: int, row: bytes) -> bytes:
    """A PNG of 4 × 4 pixels, written by hand: Pillow saves no colours of 16 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress((b"\0" + row) * SIDE))
        + chunk(b"IEND", b"")
    )


def tiff(channels: int) -> bytes:
    """A TIFF of 4 × 4 pixels with 16 bits in each channel, little-endian, uncompressed."""
    pixels = b"\xff\x80" * (SIDE * SIDE * channels)
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    beyond = 8 + 2 + 12 * 9 + 4
    photometric, bits_at = (2, beyond) if channels > 1 else (1, 16)
    tags = [(256, 1, SIDE), (257, 1, SIDE), (258, channels, bits_at), (259, 1, 1), (262, 1, photometric)]
    tags += [(273, 1, beyond + len(bits)), (277, 1, channels), (278, 1, SIDE), (279, 1, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + bits + pixels


DEEP = {
    "png grey": png(16, 0, b"\x80\xff" * 4),
    "png colour": png(16, 2, b"\x80\xff" * 12),
    "png grey and alpha": png(16, 4, b"\x80\xff" * 8),
    "png colour and alpha": png(16, 6, b"\x80\xff" * 16),
    "tiff grey": tiff(1),
    "tiff colour": tiff(3),
    "tiff colour and alpha": tiff(4),
    "ppm": b"P6 4 4 65535\n" + b"\x80\xff" * 48,
    "ppm, ten bits, a comment": b"P6\n# 255\n4 4\n1023\n" + b"\x01\xff" * 48,
    "ppm in digits": b"P3 4 4 65535\n" + b"30000 " * 48,
    "pgm": b"P5 4 4 65535\n" + b"\x80\xff" * 16,
    "tiff of floats": encoded(GREY.convert("F"), "TIFF"),
    "tiff of integers": encoded(GREY.convert("I"), "TIFF"),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("colour", ["strict", "convert"])
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_eight_bits_are_refused_never_cut(name, colour, channels):
    """Also where only the header is looked at, as for images that are decoded when they are needed."""
    rendering = Rendering((channels, SIDE, SIDE), colour=colour)
    for read in (rendering.evaluate, rendering.check):
        with pytest.raises(DataError, match="x: has more than 8 bits per channel"):
            read(DEEP[name], "x")


def test_eight_bits_and_fewer_are_read():
    colour = Rendering((3, SIDE, SIDE)).evaluate
    assert np.array_equal(colour(b"P6\n# a comment\n4 4\n255\n" + PIXELS.tobytes(), "x"), PIXELS.transpose(2, 0, 1))
    assert (colour(b"P6 4 4 100\n" + b"\x32" * 48, "x") == 128).all()  # 50 of 100, in steps of 255
    grey = Rendering((1, SIDE, SIDE)).evaluate
    assert grey(png(2, 0, b"\x1b"), "x")[0, 0].tolist() == [0, 85, 170, 255]  # the four levels of two bits


SEEN_THROUGH = {
    "grey": encoded(GREY, "PNG", transparency=3),
    "colour": encoded(RGB, "PNG", transparency=(1, 2, 3)),
    "palette, some": encoded(RGB.convert("P"), "PNG", transparency=b"\x10\x80"),
    "palette, one": encoded(RGB.convert("P"), "PNG", transparency=3),
    "black and white": encoded(GREY.convert("1"), "PNG", transparency=0),
    "grey and alpha": encoded(RGB.convert("LA"), "PNG"),
    "colour and alpha": encoded(RGB.convert("RGBA"), "PNG"),
    "tiff, grey and alpha": encoded(RGB.convert("LA"), "TIFF"),
}


@pytest.mark.parametrize("name", SEEN_THROUGH)
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_refused_unless_conversion_is_asked_for(name, channels):
    data = SEEN_THROUGH[name]
    strict, convert = (Rendering((channels, SIDE, SIDE), colour=colour) for colour in ("strict", "convert"))
    for read in (strict.evaluate, strict.check):
        with pytest.raises(DataError, match="x: is of mode .*colour: convert"):
            read(data, "x")
    opaque = Image.open(BytesIO(data)).convert("RGBA").convert("RGB" if channels == 3 else "L")
    wanted = np.asarray(opaque).reshape(SIDE, SIDE, channels).transpose(2, 0, 1)
    assert np.array_equal(convert.evaluate(data, "x"), wanted)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_multiplied_by_their_transparency_are_divided_by_it(mode, channels):
    """TIFF says so by its tag of extra samples, 338: 1 instead of 2."""
    tag = struct.pack("<HHI", 338, 3, 1)
    separate = encoded(Image.new(mode, (SIDE, SIDE), (100,) * (len(mode) - 1) + (128,)), "TIFF")
    assert separate.count(tag + b"\x02") == 1
    data = separate.replace(tag + b"\x02", tag + b"\x01")
    found = Rendering((channels, SIDE, SIDE), colour="convert").evaluate(data, "x")
    assert (found == 199).all()  # 100 · 255/128


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_where_asked(format):
    data = encoded(RGB.convert("CMYK"), format)
    with pytest.raises(DataError, match="mode CMYK, but 3 channel"):
        Rendering((3, SIDE, SIDE)).evaluate(data, "x")
    wanted = np.asarray(Image.open(BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(Rendering((3, SIDE, SIDE), colour="convert").evaluate(data, "x"), wanted)


def test_colours_that_nothing_converts_are_refused():
    data = encoded(Image.new("LAB", (SIDE, SIDE)), "TIFF")
    for channels in (1, 3):
        with pytest.raises(DataError, match="x: is of mode LAB, which is not converted"):
            Rendering((channels, SIDE, SIDE), colour="convert").evaluate(data, "x")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_cameras_orientation_is_not_applied(format):
    turned, wide = Image.Exif(), RGB.resize((6, 4))
    turned[0x0112] = 6
    plain, tagged = encoded(wide, format), encoded(wide, format, exif=turned)
    rendering = Rendering((3, 4, 6))
    assert np.array_equal(rendering.evaluate(tagged, "x"), rendering.evaluate(plain, "x"))


def test_the_orientation_of_tiff_is_applied():
    turned, wide = Image.Exif(), RGB.resize((6, 4))
    turned[0x0112] = 6
    rendering = Rendering((3, 6, 4))
    data = encoded(wide, "TIFF", exif=turned)
    rendering.check(data, "x")
    assert np.array_equal(rendering.evaluate(data, "x"), np.rot90(np.asarray(wide), -1).transpose(2, 0, 1))


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_the_first_of_several_frames_is_taken(format, options):
    other = Image.fromarray(255 - PIXELS)
    data = encoded(RGB, format, save_all=True, append_images=[other], **options)
    assert Image.open(BytesIO(data)).n_frames == 2
    assert np.array_equal(Rendering((3, SIDE, SIDE)).evaluate(data, "x"), PIXELS.transpose(2, 0, 1))


def test_a_size_that_does_not_fit_is_seen_before_anything_is_decoded(monkeypatch):
    """A few bytes can claim hundreds of megabytes."""
    data = encoded(Image.new("1", (9_000, 9_000)), "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(DataError, match="x: is 9000×9000"):
        Rendering((1, SIDE, SIDE)).evaluate(data, "x")


def folder_of(root, *names: bytes) -> ImageFolder:
    """A data set of two classes with one image each, and further images under these names in the first."""
    for split in ("train", "test"):
        for label in ("ant", "bee"):
            (root / split / label).mkdir(parents=True)
            RGB.save(root / split / label / "0.png")
    for name in names:
        with open(os.fsencode(root / "test/ant") + b"/" + name, "wb") as file:
            file.write(encoded(RGB, "PNG"))
    return ImageFolder(root=str(root), classes=2, shape=[3, SIDE, SIDE])


@pytest.mark.parametrize("stream", [False, True])
def test_a_name_that_is_not_utf8_is_shown(tmp_path, monkeypatch, stream):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    spec = folder_of(tmp_path / "root", b"caf\xe9.png").model_copy(update={"stream": stream})
    spec.source_state(tmp_path / "root")
    with pytest.raises(DataError) as caught:
        prepare(spec, tmp_path / "manifest.json")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/root/test/ant/caf\\xe9.png: the name is not UTF-8")
    assert message.encode() and message.endswith("rename it")  # it can be printed anywhere


@pytest.mark.parametrize("place", [b"test/b\xeae", b"test/ant/b\xeae"])
def test_a_folder_whose_name_is_not_utf8_is_shown(tmp_path, place):
    spec = folder_of(tmp_path / "root")
    os.makedirs(os.fsencode(tmp_path / "root") + b"/" + place)
    with pytest.raises(DataError, match=r"b\\xeae: the name is not UTF-8"):
        spec.read("test", tmp_path / "root")


def test_other_names_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    names = ("café.png", "中 文.PNG", "a\nb.png", "{x}*.png")
    spec = folder_of(tmp_path / "root", *map(str.encode, names))
    spec.source_state(tmp_path / "root")
    split = spec.read("test", tmp_path / "root")
    assert {split.path(i).name for i in range(len(split))} == {"0.png", *names}
    prepare(spec, tmp_path / "manifest.json")


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    """Passed over, it would be a smaller dataset."""
    spec, real = folder_of(tmp_path / "root"), os.scandir
    (tmp_path / "root/test/ant/more").mkdir()

    def refusing(place="."):
        if os.fspath(place).endswith("more"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="test/ant/more: cannot be read"):
        spec.read("test", tmp_path / "root")
