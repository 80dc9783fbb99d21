"""Write environment.yml: the pins of requirements.txt for all direct dependencies of pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# For conda users: the same versions as requirements.txt, from the same index. Made by `make pins`; a test compares the two.
name: certflow
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python >=3.11,<3.15
  - pip
  - pip:
"""


def direct() -> list[str]:
    """Names of the direct dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [re.split(r"[<>=!~ ;]", line)[0] for line in lines]


def pins(name: str) -> list[str]:
    """Lines of requirements.txt for a package: one, or one for each range of Python versions."""
    return [
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(rf"{re.escape(name)}==", line)
    ]


def render() -> str:
    """The text of environment.yml."""
    entries = [pin for name in direct() for pin in pins(name)]
    return HEADER + "".join(f'      - "{entry}"\n' if ";" in entry else f"      - {entry}\n" for entry in entries)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(render())
