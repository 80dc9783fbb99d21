"""One set of pins: conda's file and uv's file name the same versions, and no file names a host to fetch from."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_conda_and_uv_pin_the_same_versions():
    rendered = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, 'tools'); import conda_pins; print(conda_pins.render(), end='')",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "environment.yml").read_text() == rendered, "run `make pins`"
    assert rendered.count("==") >= 20


def test_every_package_is_pinned_exactly_and_no_host_is_named():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9._-]+==[^ =]+( ; .+)?", line), line
