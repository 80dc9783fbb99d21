"""One small instance of each kind, as its own file describes it (`example`); no test in here.

A kind is one file, so its example stands in that file too: a new kind is tried by every test of its family as soon as the file
exists, and no list in the tests has to grow.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from certflow.kinds.registry import PACKAGES, kinds, spec_class
from certflow.kinds.spec import Spec

SHAPE = (1, 8, 8)
"""Images that the laws of noise are tried on."""
DIM = 64
GIVEN = {"certificate": {"sampler": "its"}}
"""Family → settings that are names of other entries, which no kind can choose an example of."""
ALL = [(family, kind) for family in PACKAGES for kind in kinds(family)]


def file_of(family: str, kind: str) -> str:
    """Where a kind is written down, as a person would look for it."""
    path = Path(sys.modules[spec_class(family, kind).__module__].__file__)
    return "lib/" + path.as_posix().rpartition("/lib/")[2]


def small(family: str, kind: str, **more: Any) -> Spec:
    """The kind's own example; a failure that says where to write one if it has none."""
    cls = spec_class(family, kind)
    try:
        return cls.small(**GIVEN.get(family, {}), **more)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        pytest.fail(
            f"{family} {kind} has no small instance to try ({wrong}). Add to class {cls.__name__} in {file_of(family, kind)} "
            "a line such as `example: ClassVar[dict[str, Any]] = {...}` with the settings that have no default",
            pytrace=False,
        )


def every(family: str) -> list[Spec]:
    """The small instances of all kinds of a family."""
    return [small(family, kind) for kind in kinds(family)]
