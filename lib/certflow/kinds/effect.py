"""Settings that change nothing beside others: an entry that states one is refused, so that nobody takes it for done."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certflow.kinds.spec import Record


class OnlyWith:
    """Marks a setting that has an effect only where another one has one of these values; none given: any but null, 0 and empty.

        lr_step: Annotated[int, OnlyWith("schedule", "step")] = Field(50, ge=1)

    A kind that gives an inherited setting another default keeps its marks. Weights of 0 are no reason for a mark: experiments
    without a term are made by them.
    """

    def __init__(self, setting: str, *values: Any):
        self.setting, self.values = setting, values

    def missing(self, record: "Record") -> str | None:
        """Why the marked setting has no effect; None: it has one."""
        value = getattr(record, self.setting)
        if value in self.values if self.values else value:
            return None
        if self.values in ((), (None,)):
            return f"has no effect {'with' if self.values else 'without'} {self.setting}"
        return (
            f"has no effect with {self.setting}: {_written(value)}, only with {' or '.join(map(_written, self.values))}"
        )


def _written(value: Any) -> str:
    """A value as configurations write it."""
    return value if isinstance(value, str) else json.dumps(value)


def unmet(record: "Record") -> dict[str, str]:
    """Setting → why it has no effect, of those whose marks say so."""
    found = {}
    for name, marks in _marks(type(record)).items():
        for mark in marks:
            if (reason := mark.missing(record)) is not None:
                found.setdefault(name, reason)
    return found


@cache
def _marks(cls: "type[Record]") -> dict[str, list[OnlyWith]]:
    """Setting → its marks, where it has any: those of the class nearest to `cls` that gives it some."""
    found = {}
    for base in reversed(cls.__mro__):
        for name, field in getattr(base, "model_fields", {}).items():
            if own := [mark for mark in field.metadata if isinstance(mark, OnlyWith)]:
                found[name] = own
    return found


def idle(record: "Record", stated: Iterable[str] | None = None) -> Iterator[str]:
    """One line, with its place, for each setting that is stated and has no effect, here and in the records within.

    One that is stated as what it is anyway is none of them: records of results state all settings, and can be taken as entries.

    stated: names of the settings of `record` that were written down for it; None: those that it was made with.
    """
    names, fields = record.model_fields_set if stated is None else set(stated), type(record).model_fields
    for name, reason in record.without_effect().items():
        if name in names and getattr(record, name) != fields[name].get_default(call_default_factory=True):
            yield f"{name}: {reason}; leave it out"
    for name, value in record:
        for place, inner in _within(name, value):
            yield from (f"{place}.{line}" for line in idle(inner))


def _within(place: str, value: Any) -> Iterator[tuple[str, "Record"]]:
    """The records that a setting holds, with their places."""
    from certflow.kinds.spec import Record

    if isinstance(value, Record):
        yield place, value
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _within(f"{place}.{number}", inner)
