"""Whether a body is JSON that means one thing: RFC 7493 (I-JSON), and not deeper than anything the API takes."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

from mlops_assets.kernel.errors import PlatformError

MAX_DEPTH = 32
_LARGEST_INTEGER = 2**53 - 1


class InvalidJson(PlatformError):
    """A body can be read in two ways, or in none."""

    code: ClassVar[str] = "invalid_request"


def check_json(content: bytes) -> None:
    """Refuse what parsers read differently or not at all.

    Raises:
        InvalidJson: for bad UTF-8, duplicate names, NaN and infinities, integers beyond 2^53, NUL or half characters
            in a text, and deep nesting.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"The body is not UTF-8: byte {error.start} can't be read. Send JSON in UTF-8.") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_number, parse_float=_number, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. Correct it there."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    _check_depth_and_texts(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise InvalidJson(f"The body names {twice[:100]!r} twice in one object. Send it once.")
    return found


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJson("The body has a number that is not finite. Send a finite one, or null where there is none.")
    return value


def _integer(digits: str) -> int:
    if len(digits) > len(str(_LARGEST_INTEGER)) + 1 or abs(int(digits)) > _LARGEST_INTEGER:
        raise InvalidJson("The body has an integer beyond 2^53, which not every reader can hold. Send it as a text.")
    return int(digits)


def _check_depth_and_texts(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise _too_deep()


def _parts(value: object) -> list[object]:
    if isinstance(value, str):
        _check_text(value)
        return []
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list) else []


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidJson("The body has a NUL character in a text, which no store keeps. Leave it away.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJson("The body has half a character (a lone surrogate) in a text. Send the whole one.") from None


def _too_deep() -> InvalidJson:
    return InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels. Nothing this API takes is that deep.")
