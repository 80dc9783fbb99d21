"""What records say about their settings: the docstring below each one, for editors and the reference.

They are read from the source when somebody asks. Pydantic could do so for every class that is made
(`use_attribute_docstrings`), but then each start of the workflow and of every job would parse all sources: a third more time.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from certflow.kinds.spec import Record


@cache
def descriptions(record: type[Record]) -> dict[str, str]:
    """Setting → what stands below it, as one line; where a class says nothing about it, what its base says."""
    found: dict[str, str] = {}
    for cls in reversed(record.__mro__):
        if issubclass(cls, Record):
            found |= _own(cls)
    return {name: text for name, text in found.items() if name in record.model_fields}


def records(annotation: Any) -> Iterator[type[Record]]:
    """The records that a setting of this type may hold, and those that their settings may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
        for field in annotation.model_fields.values():
            yield from records(field.annotation)
    for part in get_args(annotation):
        yield from records(part)


def described_schema(record: type[Record]) -> dict[str, Any]:
    """The record's JSON schema with a description of every setting that has a docstring, here and in nested records."""
    schema = record.model_json_schema()
    _describe(schema, record)
    nested = {inner.__name__: inner for inner in records(record)}
    for name, definition in schema.get("$defs", {}).items():
        if name in nested:
            _describe(definition, nested[name])
    return schema


def _describe(schema: dict[str, Any], record: type[Record]) -> None:
    for name, text in descriptions(record).items():
        schema["properties"][name]["description"] = text
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])


@cache
def _own(cls: type) -> dict[str, str]:
    """Setting → the string literal on the line after it, in the class's own body; none where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = [line for part in tree.body if isinstance(part, ast.ClassDef) for line in part.body]
    return {
        first.target.id: " ".join(second.value.value.split())
        for first, second in pairwise(body)
        if isinstance(first, ast.AnnAssign)
        and isinstance(first.target, ast.Name)
        and isinstance(second, ast.Expr)
        and isinstance(second.value, ast.Constant)
        and isinstance(second.value.value, str)
    }
