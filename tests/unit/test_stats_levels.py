"""No entry states a level of error that no bound is verified for."""

import pytest
from pydantic import ValidationError

from certflow.config.records import Preview
from certflow.doors.web.asked import Sampled
from certflow.kinds.registry import kinds, spec_class
from certflow.knowledge.settings import Knowledge

PARTS = ("sampler", "certificate", "attack")
OUTSIDE = [Knowledge, Preview, Sampled]


def stated() -> list[tuple[type, str]]:
    """Records of entries, and the level that each states as a number of its own."""
    records = [spec_class(part, kind) for part in PARTS for kind in kinds(part)]
    fields = [(record, name) for record in [*records, *OUTSIDE] for name in ("alpha", "level")]
    return [
        (record, name)
        for record, name in fields
        if name in record.model_fields and record.model_fields[name].annotation is float
    ]


def complaints(record: type, **given) -> list[str]:
    try:
        record(**given)
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return []


def test_levels_of_all_parts_are_found():
    """Without any, the test below would pass."""
    found = {f"{record.__name__}.{name}" for record, name in stated()}
    assert found >= {
        "Decide.alpha",
        "Double.level",
        "NeymanPearson.alpha",
        "SmoothPgd.alpha",
        "Knowledge.alpha",
        "Sampled.alpha",
    }


@pytest.mark.parametrize(("record", "name"), stated(), ids=lambda value: getattr(value, "__name__", value))
def test_levels_below_the_least_are_refused_with_the_entry(record, name):
    rest = {"sampler": "fixed"} | dict(getattr(record, "example", {}))
    rest = {key: value for key, value in rest.items() if key in record.model_fields}
    about = {
        level: [one for one in complaints(record, **{**rest, name: level}) if "0.000000001" in one]
        for level in (1e-9, 9.9e-10)
    }
    assert about[1e-9] == [] and len(about[9.9e-10]) == 1
