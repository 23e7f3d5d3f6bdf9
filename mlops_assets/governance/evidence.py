"""What exactly is approved: named parts, each by its fingerprint, and in words which of them moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import cast

from mlops_assets.kernel.fingerprint import Json, fingerprint

_SHOWN = 12


class PartKind(StrEnum):
    """What a part of the evidence is."""

    SUBJECT = "subject"
    REPORT = "report"
    POLICY = "policy"
    THRESHOLDS = "thresholds"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that an approval is bound to. `note` is what people read of it, and bound as well."""

    name: str
    kind: PartKind
    fingerprint: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.fingerprint:
            raise ValueError(f"a part of the evidence has a name and a fingerprint: {self}")

    def as_json(self) -> dict[str, Json]:
        return {"name": self.name, "kind": self.kind.value, "fingerprint": self.fingerprint, "note": self.note}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that an approval is bound to. The order of the parts means nothing."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"parts of the evidence are named twice: {', '.join(twice)}")
        object.__setattr__(self, "parts", tuple(sorted(self.parts, key=lambda part: part.name)))

    @classmethod
    def from_json(cls, content: object) -> Evidence:
        """Read what `as_json` wrote.

        Raises:
            ValueError: if it says something else.
        """
        parts = _field(content, "parts")
        if not isinstance(parts, Sequence) or isinstance(parts, str):
            raise ValueError("the parts of the evidence are no list")
        return cls(parts=tuple(_part(one) for one in cast("Sequence[object]", parts)))

    def as_json(self) -> dict[str, Json]:
        return {"parts": [part.as_json() for part in self.parts]}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.as_json())


def moved(before: Evidence, after: Evidence) -> tuple[str, ...]:
    """Say in words which parts differ, by name; nothing if the evidence is the same."""
    old, new = ({part.name: part for part in one.parts} for one in (before, after))
    return tuple(words for name in sorted({*old, *new}) for words in _difference(old.get(name), new.get(name)))


def _difference(old: Part | None, new: Part | None) -> Iterator[str]:
    if old is None or new is None:
        if new is not None:
            yield f"{new.name} was added: {_short(new)}"
        elif old is not None:
            yield f"{old.name} is gone: it was {_short(old)}"
        return
    if old.fingerprint != new.fingerprint:
        yield f"{old.name} moved: {_short(old)} → {_short(new)}"
    if old.kind is not new.kind:
        yield f"{old.name} was {old.kind} and is {new.kind}"
    if old.note != new.note and old.fingerprint == new.fingerprint:
        yield f"{old.name} reads otherwise: {old.note!r} → {new.note!r}"


def _short(part: Part) -> str:
    return part.fingerprint if len(part.fingerprint) <= _SHOWN else f"{part.fingerprint[:_SHOWN]}…"


def _part(content: object) -> Part:
    name, kind, found, note = (_text(content, field) for field in ("name", "kind", "fingerprint", "note"))
    return Part(name=name, kind=PartKind(kind), fingerprint=found, note=note)


def _text(content: object, field: str) -> str:
    found = _field(content, field)
    if not isinstance(found, str):
        raise ValueError(f"the {field} of a part of the evidence is no text")
    return found


def _field(content: object, name: str) -> object:
    if not isinstance(content, Mapping) or name not in content:
        raise ValueError(f"the evidence lacks {name!r}")
    return cast("Mapping[str, object]", content)[name]
