"""How a file of the catalogue becomes a value: typed, complete, and with errors that name file, field and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mlops_assets.kernel.errors import InvalidDeclaration, near_misses

T = TypeVar("T")

_UNKNOWN_FIELD = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


def parse_declaration(kind: type[T], content: Mapping[str, Any], file: Path) -> T:
    """Build a (frozen, nested) dataclass from the parsed content of `file`.

    Raises:
        InvalidDeclaration: for the first field that is missing, unknown, of the wrong type or out of range.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(content))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt field shows up twice, as unknown and as missing; the unknown one tells more.
        first = next((one for one in found if one["type"] in _UNKNOWN_FIELD), found[0])
        raise InvalidDeclaration(
            file=file,
            field=".".join(str(part) for part in first["loc"]) or "(the whole file)",
            problem=first["msg"],
            remedy=_remedy(kind, first),
        ) from error


def _remedy(kind: type[Any], error: ErrorDetails) -> str:
    *path, field = [str(part) for part in error["loc"]] or [""]
    if error["type"] == "missing":
        return f"Add {field!r}."
    if error["type"] in _UNKNOWN_FIELD:
        known = list(_fields_at(TypeAdapter(kind).json_schema(), path))
        near = near_misses(field, known)
        return f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(sorted(known))}."
    return f"Found {error['input']!r}; correct it."


def _fields_at(schema: Mapping[str, Any], path: list[str]) -> Iterator[str]:
    """Yield the names of the fields that the JSON schema allows at `path`."""
    node: Mapping[str, Any] = schema
    for step in path:
        node = _resolved(schema, node.get("properties", {}).get(step) or node.get("items") or {})
    yield from _resolved(schema, node).get("properties", {})


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    for choice in (node, *node.get("anyOf", ())):
        if reference := choice.get("$ref"):
            return schema["$defs"][str(reference).rsplit("/", 1)[-1]]
    return node
