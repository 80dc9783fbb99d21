"""What the web application refuses: other hosts and sites, bombs, ways out of folders, pickles, too much of anything."""

import base64
import errno
import io
import os
import pickle
import struct
import zipfile
import zlib

import pytest
from PIL import Image
from web_examples import FROM_PAGE, TOKEN, Web, picture, results_with

from certflow.doors.web import pictures
from certflow.doors.web.settings import Settings
from certflow.doors.web.words import name_of
from certflow.errors import DataError


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    web = Web(results_with(tmp_path_factory.mktemp("web")), start=False, queue=1000)
    yield web


def text(answer) -> str:
    return answer.get_data(as_text=True)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8000", "[::2]:8000"])
def test_another_host_name_is_refused(web, host):
    assert web.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "LOCALHOST"])
def test_our_own_host_names_are_answered(web, host):
    assert web.get("/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9"},
        {"Origin": "https://localhost:9"},
        {"Origin": "ftp://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        {},
    ],
)
def test_another_site_cannot_change_anything(web, headers):
    for path in (
        f"/models/{web.model}/certify",
        "/models/new",
        f"/models/{web.model}/batch",
        "/api/jobs",
        "/api/predict",
    ):
        assert web.client.post(path, data={"index": "1"}, headers=headers).status_code == 403, path


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_pages_can_also_behind_a_proxy_that_speaks_https(web, scheme):
    headers = {"Origin": f"{scheme}://localhost", "Sec-Fetch-Site": "same-origin"}
    for shown in (headers, {"Origin": headers["Origin"]}):
        made = web.client.post(f"/models/{web.model}/certify", data={"index": "1"}, headers=shown)
        assert made.status_code in (302, 303) and made.location.startswith("/jobs/")


def test_a_program_needs_json_and_the_token(web):
    asked = {"model": web.model, "image": {"index": 1}}
    for shown in ({}, {"X-Certflow-Token": "another"}, {"X-Certflow-Token": "ü"}):
        assert web.client.post("/api/jobs", json=asked, headers=shown).status_code == 403
    good = {"X-Certflow-Token": TOKEN}
    assert web.client.post("/api/jobs", data={"model": web.model}, headers=good).status_code == 403
    assert web.client.post("/api/jobs", json=asked, headers=good).status_code == 201


@pytest.mark.parametrize("sent", [b"[1]", b'"text"', b"{", b'{"model": 3}', b'{"model": "x", "image": 4}'])
def test_strange_json_is_a_client_error(web, sent):
    headers = {"X-Certflow-Token": TOKEN, "Content-Type": "application/json"}
    assert web.client.post("/api/jobs", data=sent, headers=headers).status_code in (400, 404)


def test_headers_of_every_answer(web):
    for path in ("/", "/nothing", "/api/models", "/static/app.js", f"/models/{web.model}/images/0.png"):
        headers = web.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "same-origin"
        assert "Set-Cookie" not in headers and "Access-Control-Allow-Origin" not in headers
    assert web.get("/api/models").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/../../etc/passwd",
        "/jobs/..%2f..%2fetc",
        "/jobs/aaaaaaaaaaaa",
        "/jobs/AAAAAAAAAAAA",
        "/jobs/aaaaaaaaaaaa/download/../state.json",
        "/models/..",
        "/models/aaaaaaaaaaaa/weights",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/download_weights/..%2f..%2fx",
    ],
)
def test_no_way_out_of_the_folders(web, path):
    assert web.get(path).status_code == 404


def test_only_files_of_a_job_that_are_meant_to_be_seen(web):
    name = web.certify(n="300")
    for what in ("state.json", "asked.json", "error.txt", "pixels.npz", "..%2f..%2fx"):
        assert web.get(f"/jobs/{name}/download/{what}").status_code == 404, what


def upload(web, content, name="x.png"):
    data = {"file": (io.BytesIO(content), name), "n": "300"}
    return web.post(f"/models/{web.model}/certify", data, content_type="multipart/form-data")


def png_of(width: int, height: int) -> bytes:
    """A small file that claims to be a large image."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an intact image"),
        (b"GIF89a" + b"\0" * 50, "not an intact image"),
        (png_of(100_000, 100_000), "intact"),
        (png_of(8_000, 8_000), "more than 40,000,000"),
        (picture()[:200], "not an intact image"),
        (picture(kind="TIFF"), "in a format that is taken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an intact image"),
    ],
)
def test_images_that_are_refused(web, content, says):
    answer = upload(web, content)
    assert answer.status_code == 400 and says in text(answer)


def test_no_file_holds_four_channels():
    with pytest.raises(DataError, match="4 channels"):
        pictures.rendered(picture(), "x.png", (4, 8, 8))


def test_sixteen_bits_are_refused():
    buffer = io.BytesIO()
    Image.new("I;16", (9, 9), 40_000).save(buffer, "PNG")
    with pytest.raises(DataError, match="8 bits"):
        pictures.rendered(buffer.getvalue(), "x.png", (1, 8, 8))


def test_sixteen_bits_are_refused_whichever_way_the_camera_was_held():
    """Turning cuts each channel to 8 bits; what is turned no longer shows how many there were."""
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)),
        (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        (b"IDAT", zlib.compress(b"".join(b"\0" + bytes(range(row, row + 24)) for row in range(4)))),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(packed)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB" and image.getexif()[pictures.ORIENTATION] == 6
    with pytest.raises(DataError, match="more than 8 bits per channel"):
        pictures.rendered(data, "x.png", (3, 4, 4))


def test_transparency_that_is_left_out_is_said():
    made = pictures.rendered(picture(mode="RGBA"), "x.png", (3, 8, 8))
    assert "transparency left out" in made.said
    assert "transparency" not in pictures.rendered(picture(), "x.png", (3, 8, 8)).said


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "BMP"), ("L", "WEBP")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_converted(mode, kind, channels):
    made = pictures.rendered(picture(mode=mode, kind=kind), "x", (channels, 8, 8))
    assert made.pixels.shape == (channels, 8, 8)


def test_a_photo_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    turned = pictures.rendered(picture((30, 20), kind="JPEG", exif=exif), "x", (3, 30, 20), "squeeze")
    plain = pictures.rendered(picture((30, 20), kind="JPEG"), "x", (3, 20, 30), "squeeze")
    assert "turned upright" in turned.said and (turned.pixels == plain.pixels.transpose(0, 2, 1)[:, :, ::-1]).all()


@pytest.mark.parametrize(("mode", "orientation"), [("CMYK", 6), ("RGB", 0), ("RGB", 9), ("L", 5), ("RGB", 3)])
def test_only_what_a_camera_can_say_turns_a_photo_of_any_colours(mode, orientation):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    plain = pictures.rendered(picture((30, 20), mode=mode, kind="JPEG"), "x", (3, 20, 30), "squeeze")
    given = picture((30, 20), mode=mode, kind="JPEG", exif=exif)
    shape = (3, 30, 20) if orientation in (5, 6) else (3, 20, 30)
    found = pictures.rendered(given, "x", shape, "squeeze")
    turn = {
        5: lambda x: x.transpose(0, 2, 1),
        6: lambda x: x.transpose(0, 2, 1)[:, :, ::-1],
        3: lambda x: x[:, ::-1, ::-1],
    }
    assert (found.pixels == turn.get(orientation, lambda x: x)(plain.pixels)).all()
    assert ("turned upright" in found.said) == (orientation in turn) and "resized" not in found.said


@pytest.mark.parametrize(("width", "height", "shape"), [(1_000_000, 1, (1, 28, 28)), (1, 30_000, (3, 224, 224))])
def test_a_line_of_pixels_takes_no_gigabytes_on_its_way_to_the_shape(width, height, shape):
    data = picture((width, height), mode="L")
    with pytest.raises(
        DataError, match="of which resampling would make .* before the centre is cut out; cut the image"
    ):
        pictures.rendered(data, "line.png", shape)
    assert pictures.rendered(data, "line.png", shape, "squeeze").pixels.shape == shape


def test_the_pixels_of_a_zip_are_counted_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "TOGETHER", 500)
    entries = [(f"{number}.png", picture((10, 20))) for number in range(3)]
    assert len(pictures.unzipped(zipped(entries[:2]), (1, 8, 8))) == 2
    with pytest.raises(DataError, match="the zip holds more than 500 pixels"):
        pictures.unzipped(zipped(entries), (1, 8, 8))


def body_of(content: bytes) -> dict:
    """The same upload as bytes: the test client's own temporary file is never closed."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'
    return {"data": head + content + b"\r\n--x--\r\n", "content_type": "multipart/form-data; boundary=x"}


def test_an_image_that_is_too_large_is_413_or_said(web):
    path = f"/models/{web.model}/certify"
    sent, asked = body_of(b"x" * (12 << 20)), {**FROM_PAGE, "Accept": "application/json"}
    assert "This address takes at most 11 MB" in text(web.post(path, **sent))
    answer = web.client.post(path.replace("certify", "render"), **sent, headers=asked)  # as the preview asks
    assert answer.status_code == 413 and "at most 11 MB" in answer.json["error"]
    assert "larger than 10 MB" in text(web.post(path, **body_of(b"x" * ((10 << 20) + 9))))


@pytest.mark.parametrize(("reason", "code", "says"), [(errno.ENOSPC, 507, "Make room there"), (errno.EIO, 500, "log")])
def test_a_disk_that_is_full_while_something_is_sent_is_said(web, monkeypatch, reason, code, says):
    def failing(*given):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("certflow.doors.web.forms.chosen", failing)
    answer = web.post(f"/models/{web.model}/certify", {"index": "1"})
    assert answer.status_code == code and says in text(answer)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: you tried to allocate 9 bytes")])
def test_memory_that_does_not_suffice_is_said(web, monkeypatch, error):
    def failing(*given):
        raise error

    monkeypatch.setattr("certflow.doors.web.forms.chosen", failing)
    answer = web.post(f"/models/{web.model}/certify", {"index": "1"})
    assert answer.status_code == 503 and "memory did not suffice" in text(answer) and "run again" in text(answer)


def test_pages_that_follow_jobs_leave_a_browser_a_connection_for_others(tmp_path):
    """Browsers keep six connections to a server, in all windows together."""
    assert Settings(tmp_path).streams < 6


def zipped(entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def link() -> bytes:
    entry = zipfile.ZipInfo("x.png")
    entry.external_attr = 0o120777 << 16
    return zipped([(entry, "/etc/passwd")])


def lying() -> bytes:
    """A zip whose directory says that its entry is small."""
    content = bytearray(zipped([("x.png", b"\0" * (pictures.ENTRY + 100))]))
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 10)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no zip", "not an intact zip"),
        (zipped([]), "holds no file"),
        (zipped([("x.txt", "text")]), "not an intact image"),
        (zipped([(f"{n}.png", b"") for n in range(501)]), "more than 500"),
        (zipped([("x.png", b"\0" * (pictures.ENTRY + 1))]), "larger than 20 MB"),
        (zipped([(f"{n}.png", b"\0" * pictures.ENTRY) for n in range(11)]), "more than 200 MB"),
        (link(), "is a link"),
        (lying(), "damaged|larger|intact"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,  # the bytes of a zip hold the time at which it was made
)
def test_zips_that_are_refused(web, content, says):
    with pytest.raises(DataError, match=says):
        pictures.unzipped(content, (1, 8, 8))
    data = {"file": (io.BytesIO(content), "images.zip"), "n": "300"}
    answer = web.post(f"/models/{web.model}/batch", data, content_type="multipart/form-data")
    assert answer.status_code == 400


class Bomb:
    """What a pickle can do when it is read: here, leave a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("name", ["x.pth", "x.pt", "x.bin", "x.safetensors"])
def test_pickles_are_not_run(web, tmp_path, name):
    content = pickle.dumps(Bomb(tmp_path / "trace"))
    data = {"file": (io.BytesIO(content), name), "architecture": "small_conv", "sigma": "0.1"}
    answer = web.post("/models/new", data, content_type="multipart/form-data")
    assert answer.status_code == 400 and 'id="file-error"' in text(answer)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["x.py", "x.zip", "x", "x.pkl", "x.safetensors.exe"])
def test_endings_of_other_files_are_refused(web, name):
    data = {"file": (io.BytesIO(b"x"), name), "architecture": "small_conv", "sigma": "0.1"}
    assert web.post("/models/new", data, content_type="multipart/form-data").status_code == 400


def test_names_that_people_give_are_never_markup(web):
    name = '<script>alert("1")</script>.png'
    made = upload(web, picture(), name).location.rsplit("/", 1)[1]
    body = text(web.get(f"/jobs/{made}"))
    assert "<script>alert" not in body and "&lt;" in body
    answer = web.post(f"/models/{web.model}/certify", {"index": "1", "alpha": '"><script>x</script>'})
    assert answer.status_code == 400 and "<script>x" not in text(answer)


def test_names_have_one_line_of_signs_that_can_be_seen():
    for given, wanted in [
        ("a b", "a b"),
        (" net\x00\x1b[31m\r\n\u202egnp.exe\ud800 ", "net [31m gnp.exe"),
        ("Straße ✓\u00a0é", "Straße ✓ é"),
        ("\x07\u200b", ""),
        ("x" * 500, "x" * 200),
    ]:
        assert name_of(given) == wanted


def test_signs_that_cannot_be_seen_reach_no_page(web):
    made = upload(web, picture(), "a\x1b[31m\u202eb.png").location.rsplit("/", 1)[1]
    assert web.site.jobs.get(made).asked.picture.name == "a [31m b.png"
    image = {"base64": base64.b64encode(picture()).decode(), "name": "\ud800\x07"}
    sent = {"model": web.model, "image": image, "n": 300}
    answer = web.client.post("/api/jobs", json=sent, headers={"X-Certflow-Token": TOKEN})
    assert answer.status_code == 201 and answer.json["asked"]["picture"]["name"] == "image", text(answer)


def test_errors_have_our_look_and_no_traces(web):
    body = text(web.get("/nothing"))
    assert "To the models" in body and "Traceback" not in body
    assert web.get("/api/jobs/zzzzzzzzzzzz").json["error"]
    assert web.client.delete("/", headers=FROM_PAGE).status_code == 405


def test_a_long_form_field_is_refused(web):
    answer = web.post(f"/models/{web.model}/certify", {"index": "1", "seed": "9" * (2 << 20)})
    assert answer.status_code in (400, 413)
