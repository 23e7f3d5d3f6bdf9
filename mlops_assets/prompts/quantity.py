"""Which numbers and dates does a text print, in English and in Korean, and how exactly does it print them."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

PrintedUnit = Literal["none", "percent", "percent_points", "basis_points", "USD", "times", "count", "days"]

# Not `\b`: a Korean particle follows without a space ("3.2%p였다"), and is a word character.
_END = "(?![A-Za-z])"
_UNITS: tuple[tuple[PrintedUnit, str], ...] = (
    ("percent_points", rf"%\s?p{_END}|%\s?포인트|퍼센트\s?포인트|percentage[ -]points?|pp{_END}"),
    ("basis_points", rf"bps?{_END}|basis[ -]points?|베이시스\s?포인트"),
    ("percent", rf"%|퍼센트|per ?cent{_END}"),
    ("USD", rf"달러|USD{_END}|(?:US )?dollars?{_END}"),
    ("times", rf"배(?!당)|x{_END}|times{_END}"),
    ("count", rf"(?:회|건|번)(?!전|째)|trades?{_END}|round trips?{_END}"),
    ("days", rf"거래일|일(?![가-힣]*평균)|(?:trading |calendar )?days?{_END}"),
)
_SCALES = {
    "조": Decimal(10**12),
    "억": Decimal(10**8),
    "만": Decimal(10**4),
    "천": Decimal(10**3),
    "thousand": Decimal(10**3),
    "k": Decimal(10**3),
    "million": Decimal(10**6),
    "m": Decimal(10**6),
    "billion": Decimal(10**9),
    "bn": Decimal(10**9),
}
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?"
_SCALE = rf"조|억|만|천(?=\s?(?:달러|원))|(?:thousand|million|billion|bn|k|m){_END}"
_QUANTITY = re.compile(
    r"(?<![A-Za-z0-9_.,])(?P<sign>[+\-−–])?(?P<dollar>(?:US)?\$)?(?P<after_dollar>[-−])?"
    rf"(?P<parts>{_DIGITS}(?:\s?(?:{_SCALE}))?(?:(?<=[조억만])\s?{_DIGITS}(?:\s?(?:[억만천]))?)*)"
    rf"(?:\s?(?P<unit>{'|'.join(pattern for _, pattern in _UNITS)}))?",
    re.IGNORECASE,
)
_PART = re.compile(rf"({_DIGITS})\s?({_SCALE}|천)?", re.IGNORECASE)

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MONTH = "|".join(f"{name}|{name[:3]}\\.?" for name in _MONTHS)
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<![\d.-])(?P<year>(?:19|20)\d{2})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-])",
        r"(?P<year>(?:19|20)\d{2})년\s?(?P<month>\d{1,2})월(?:\s?(?P<day>\d{1,2})일)?",
        rf"\b(?P<name>{_MONTH})\s(?P<day>\d{{1,2}}),?\s(?P<year>(?:19|20)\d{{2}})\b",
        rf"\b(?P<day>\d{{1,2}})\s(?P<name>{_MONTH})\s(?P<year>(?:19|20)\d{{2}})\b",
        rf"\b(?P<name>{_MONTH})\s(?P<year>(?:19|20)\d{{2}})\b",
        r"(?P<year>(?:19|20)\d{2})년",
        r"(?<![A-Za-z0-9_.,$+−-])(?P<year>(?:19|20)\d{2})(?![\d억만조]|[.,]\d|-\d)"
        rf"(?!\s?(?:{'|'.join(pattern for _, pattern in _UNITS)}))",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A printed number. `value` is in the printed unit; `half_unit` is half a unit of its last printed digit."""

    value: Decimal
    half_unit: Decimal
    unit: PrintedUnit
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedDate:
    """A printed day, month or year, as the span of days that it names."""

    first: date
    last: date
    start: int
    end: int


def dates_in(text: str) -> list[PrintedDate]:
    """Return the dates of a text, in order. A date that no calendar has is left to be read as numbers."""
    found: list[PrintedDate] = []
    for pattern in _DATES:
        read = [printed for match in pattern.finditer(text) if (printed := _date(match)) is not None]
        text = without(text, read)
        found += read
    return sorted(found, key=lambda one: one.start)


def without(text: str, dates: Sequence[PrintedDate]) -> str:
    """Blank out dates, given in order, keeping every position."""
    pieces: list[str] = []
    end = 0
    for one in dates:
        pieces += [text[end : one.start], " " * (one.end - one.start)]
        end = one.end
    return "".join([*pieces, text[end:]])


def quantities_in(text: str) -> Iterator[Quantity]:
    """Yield the numbers of a text, in order. Blank out dates first."""
    for match in _QUANTITY.finditer(text):
        value, half_unit = _amount(match["parts"])
        is_negative = (match["sign"] or "") in {"-", "−", "–"} or match["after_dollar"] is not None
        yield Quantity(
            value=-value if is_negative else value,
            half_unit=half_unit,
            unit="USD" if match["dollar"] else _unit(match["unit"]),
            start=match.start(),
            end=match.end(),
        )


def _amount(parts: str) -> tuple[Decimal, Decimal]:
    """Return the value of `1억 2,345만` and half a unit of its last printed digit."""
    value, half_unit = Decimal(0), Decimal(0)
    for digits, scale_word in _PART.findall(parts):
        scale = _SCALES[scale_word.lower()] if scale_word else Decimal(1)
        number = Decimal(digits.replace(",", ""))
        places = len(digits.partition(".")[2])
        value += number * scale
        half_unit = scale / (Decimal(10) ** places) / 2
    return value, half_unit


def _unit(word: str | None) -> PrintedUnit:
    if word is None:
        return "none"
    return next(unit for unit, pattern in _UNITS if re.fullmatch(pattern, word, re.IGNORECASE))


def _date(match: re.Match[str]) -> PrintedDate | None:
    parts = match.groupdict()
    year = int(parts["year"])
    name = parts.get("name")
    month = _month_number(name) if name else int(parts.get("month") or 0)
    try:
        if parts.get("day"):
            first = last = date(year, month, int(parts["day"]))
        elif month:
            first, last = date(year, month, 1), date(year, month, monthrange(year, month)[1])
        else:
            first, last = date(year, 1, 1), date(year, 12, 31)
    except ValueError:
        return None
    return PrintedDate(first=first, last=last, start=match.start(), end=match.end())


def _month_number(name: str) -> int:
    return next(number for number, full in enumerate(_MONTHS, start=1) if full[:3].lower() == name[:3].lower())
