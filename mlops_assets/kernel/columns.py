"""What a column of a table means: type, unit, range and the source of its formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["string", "date", "timestamp", "float", "integer", "boolean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `unit` is the plain word (`fraction`, `USD`, `points`); bounds are inclusive."""

    name: str
    type: ColumnType
    description: str
    unit: str = ""
    formula: str = ""
    is_nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
