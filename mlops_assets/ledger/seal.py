"""Whether the hash of a stored row or an exported line is the hash of its content, a million times in a row.

Content is canonical JSON (RFC 8785). Here it is put together from its eleven known fields by Python's C encoder, which
gives the bytes of RFC 8785 unless a float is written differently, an integer is beyond 2^53 or a name lies outside the
basic plane; then the library serialises. A property test compares both ways.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.ledger.verification import UNREADABLE, Link

_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_SAFE_DIGITS = 15
_LARGEST_INT = 2**53 - 1
_FIELDS = 11


class Row(NamedTuple):
    """A row of the table as the database holds it: details as text, the instant as text (SQLite) or naive (PostgreSQL).

    The types are those of a sound row; somebody who owns the file may have put anything there.
    """

    seq: int
    at: str | datetime
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None
    reason: str
    details: str
    previous_hash: str
    hash: str


class _WrittenDifferently(ValueError):
    """A number that RFC 8785 writes in another way than Python."""


def link_of_row(row: Row) -> Link:
    """Look at the seal of a row."""
    try:
        details, is_as_stored = _details_of_row(row.details)
        before_hash, after_hash = _content(row._asdict() | {"at": _instant(row.at)}, details)
        is_sealed = is_as_stored and _sha256(before_hash + after_hash) == row.hash
    except (ValueError, TypeError, OverflowError, RecursionError):
        return UNREADABLE
    return Link(row.seq, row.previous_hash, row.hash, is_sealed)


def line_of_row(row: Row) -> bytes:
    """Return the exported line of a row. What somebody damaged stays in sight, and the line is not sealed then."""
    try:
        details, _ = _details_of_row(row.details)
        before_hash, after_hash = _content(row._asdict() | {"at": _instant(row.at)}, details)
        return f'{before_hash},"hash":{encode_basestring(row.hash)}{after_hash}'.encode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return canonical_json({"unreadable": {name: repr(value) for name, value in row._asdict().items()}})


def links_of_lines(lines: Iterable[bytes]) -> Iterator[Link]:
    """Look at the seal of each exported line, which must be canonical to the byte."""
    for line in lines:
        yield _link_of_line(line.removesuffix(b"\n"))


def _link_of_line(line: bytes) -> Link:
    try:
        text = line.decode("utf-8")
        fields, details = _fields_of_line(text)
        before_hash, after_hash = _content(fields, details)
        whole = f'{before_hash},"hash":"{fields["hash"]}"{after_hash}'
        is_canonical = whole == text and len(fields) == _FIELDS and type(fields["seq"]) is int
        is_sealed = is_canonical and _sha256(before_hash + after_hash) == fields["hash"]
        return Link(fields["seq"], fields["previous_hash"], fields["hash"], is_sealed)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return UNREADABLE


def _fields_of_line(text: str) -> tuple[dict[str, Any], str]:
    try:
        fields = _DECODER.decode(text)
        return fields, _canonical(fields["details"])
    except _WrittenDifferently:
        fields = _EXACT_DECODER.decode(text)
        return fields, canonical_json(fields["details"]).decode("utf-8")


def _details_of_row(text: str) -> tuple[str, bool]:
    """Return canonical details, and whether the text is what the store writes: a name twice would hide a value."""
    if text == "{}":
        return text, True
    try:
        found = _DECODER.decode(text)
        return _canonical(found), json.dumps(found) == text
    except _WrittenDifferently:
        found = json.loads(text)
        return canonical_json(found).decode("utf-8"), json.dumps(found) == text


def _content(fields: dict[str, Any], details: str) -> tuple[str, str]:
    """Return canonical content in two parts: before and after the place of the hash in an exported line."""
    before_hash = (
        f'{{"action":{encode_basestring(fields["action"])},"actor":{encode_basestring(fields["actor"])},'
        f'"after":{_optional(fields["after"])},"at":{encode_basestring(fields["at"])},'
        f'"before":{_optional(fields["before"])},"details":{details}'
    )
    after_hash = (
        f',"previous_hash":{encode_basestring(fields["previous_hash"])},"reason":{encode_basestring(fields["reason"])},'
        f'"seq":{fields["seq"]},"subject":{encode_basestring(fields["subject"])}}}'
    )
    return before_hash, after_hash


def _canonical(details: object) -> str:
    text = _ENCODER.encode(details)
    if not text.isascii() and _ASTRAL.search(text):
        raise _WrittenDifferently(text)
    return text


def _optional(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def instant_of(at: str | datetime) -> datetime:
    """Return the instant of a row.

    Raises:
        ValueError: if somebody put something else there.
    """
    return datetime.fromisoformat(_instant(at))


def _instant(at: str | datetime) -> str:
    if isinstance(at, datetime):
        return at.replace(tzinfo=UTC).isoformat(timespec="microseconds")
    day, clock = str(at).split(" ")  # a damaged row may hold anything
    return f"{day}T{clock}+00:00"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _same_float(text: str) -> float:
    value = float(text)
    written = repr(value)
    if "e" in written or "n" in written or written.endswith(".0"):
        raise _WrittenDifferently(text)
    return value


def _safe_int(text: str) -> int:
    if len(text) > _SAFE_DIGITS:
        raise _WrittenDifferently(text)
    return int(text)


def _number_of_digits(text: str) -> int | float:
    """Read digits as RFC 8785 wrote them: beyond 2^53 they were a float."""
    value = int(text)
    return value if abs(value) <= _LARGEST_INT else float(value)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_same_float, parse_int=_safe_int, parse_constant=_no_constant)
_EXACT_DECODER = json.JSONDecoder(parse_int=_number_of_digits, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
