"""The sources of the documentation site: docs/ and the few pages outside it, with links as they are between pages of the site.

python tools/site/pages.py build/pages
"""

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "results/README.md": "results-folder.md",
}
"""File of the project → its page. A link to any other file outside docs/ is a broken one, which ends the build."""
LINK = re.compile(r"(?<=\]\()([^()\s:#]+)")
GROUPS = {"Using it": r"(?!results/|contributing|changelog|license)", "Results": r"results/", "The project": r""}
"""Heading in the site's contents → pages below it: those whose names begin so and that no earlier heading took."""
CONTENTS = "\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"


def main(folder: str) -> None:
    """Write the sources into a folder that is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("captions", "*.md"))
    places = OUTSIDE | {
        str(p.relative_to(ROOT)): str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")
    }
    for source, page in places.items():
        text = LINK.sub(lambda link, s=source, p=page: _rewritten(link[0], s, p), (ROOT / source).read_text("utf-8"))
        text = text if text.startswith("#") else f"# {text}"  # the licence is a page, too
        (Path(folder) / page).write_text(text, "utf-8")
    with (Path(folder) / "index.md").open("a", encoding="utf-8") as index:
        names = sorted(page.removesuffix(".md") for page in places.values() if page != "index.md")
        for heading, pattern in GROUPS.items():
            index.write(CONTENTS.format(heading, "\n".join(name for name in names if re.match(pattern, name))))
            names = [name for name in names if not re.match(pattern, name)]


def _rewritten(link: str, source: str, page: str) -> str:
    """A link of a file of the project, in the page that is made of it."""
    target = os.path.normpath(Path(source).parent / link)
    place = OUTSIDE.get(target, target.removeprefix("docs/"))
    return os.path.relpath(place, Path(page).parent)


if __name__ == "__main__":
    main(sys.argv[1])
