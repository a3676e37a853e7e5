"""Documents as everything that is published writes them: for lists and the audit."""

from functools import cache
from typing import Any

import msgspec


@cache
def _names(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Each field's name here and as it is published; asked for each of 100,000 imported devices."""
    return tuple((field.name, field.encode_name) for field in msgspec.structs.fields(kind))


def as_camel(name: str) -> str:
    """A column's name as everything that is published writes names."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def as_plain(document: msgspec.Struct) -> dict[str, Any]:
    """A document with every field, defaults too, under its published name: for lists and the audit."""
    values = {published: getattr(document, name) for name, published in _names(type(document))}
    plain: dict[str, Any] = msgspec.to_builtins(values, str_keys=True)
    return plain
