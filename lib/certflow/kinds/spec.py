"""The base of every named entry in the configuration: a frozen, strict, self-describing record."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from certflow.kinds.effect import unmet


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """The same JSON value with keys sorted at every level: Snakemake compares params by their text."""
    return json.loads(canonical_json(value))


def without(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The mapping without these keys. A stage's specification without what it adds itself is that of the stage before."""
    return {key: entry for key, entry in value.items() if key not in keys}


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a plain value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def problems_of(error: ValidationError) -> list[str]:
    """`setting: what is wrong with it`, one line for each wrong setting of a record that was made in Python."""
    found = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
    return [f"{setting}: {what}" if setting else what for setting, what in found]


class Record(BaseModel):
    """Frozen and strict: unknown keys and numbers given as text are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def without_effect(self) -> dict[str, str]:
        """Setting → why it changes nothing beside the others. An entry must not change it (`certflow.kinds.effect.idle`)."""
        return unmet(self)


class Spec(Record):
    """One entry of the configuration, of a registered kind.

    A subclass states `family` (one of `certflow.kinds.registry.PACKAGES`) through its base and `kind` through
    `certflow.kinds.registry.register`. `revision` is raised whenever the same fields would give other results than
    before: it is part of every digest, so old artefacts are remade or refused, never silently mixed with new ones.
    """

    family: ClassVar[str]
    revision: ClassVar[int] = 1
    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where something is or how it is reached, and cannot change a result."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Settings of a small instance, as they stand in a configuration: those without a default, and whatever makes it quick. The
    tests of all kinds use it, and `docs/reference.md` shows it."""

    accepts: ClassVar[frozenset[str]] = frozenset({"pixels"})
    """What data an entry can be used on: `pixels`, `tokens` (names of `certflow.data.items`)."""

    kind: str
    """Which kind of entry this is: the name of the file that defines it."""

    @classmethod
    def small(cls, **more: Any) -> Self:
        """The instance that `example` describes, with further settings. Both are plain JSON values."""
        return cls.model_validate_json(canonical_json({**cls.example, **more}))

    @classmethod
    def item_problems(cls, item: str) -> list[str]:
        """Why entries of this kind cannot be used on data whose items are `pixels` or `tokens` (empty: they can)."""
        if item in cls.accepts:
            return []
        kind, known = cls.model_fields["kind"].default, " and ".join(sorted(cls.accepts))
        return [f"{kind} works on {known}; these data are {item}"]

    def canonical(self) -> dict[str, Any]:
        """Plain JSON values, defaults filled in, without the `unhashed` fields: what `params` and digests are made of."""
        fields = self.model_dump(mode="json", exclude=set(self.unhashed))
        return {"revision": self.revision, **fields}

    def digest(self) -> str:
        """SHA-256 of `canonical()`."""
        return digest(self.canonical())
