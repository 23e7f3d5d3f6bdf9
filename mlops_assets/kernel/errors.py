"""What can go wrong that a user can mend: one family of errors, each with a stable code and a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class PlatformError(Exception):
    """An expected failure. The message says what was asked, what was found and what to do next."""

    code: ClassVar[str] = "platform_error"


class InvalidDeclaration(PlatformError):
    """A file of the catalogue does not say what it must."""

    code: ClassVar[str] = "invalid_declaration"

    def __init__(self, *, file: Path | str, field: str, problem: str, remedy: str) -> None:
        self.file, self.field, self.problem, self.remedy = str(file), field, problem, remedy
        super().__init__(f"{file}: field {field!r}: {problem}. {remedy}")


class UnknownReference(PlatformError):
    """A declaration, a route or a command names something that is not declared."""

    code: ClassVar[str] = "unknown_reference"

    def __init__(self, *, kind: str, name: str, known: Iterable[str], asked_by: str, field: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(str(one) for one in known)  # an enum shows its value
        self.near = near_misses(name, self.known)
        where = f"{asked_by}: field {field!r}" if field else asked_by
        hint = f"did you mean {' or '.join(map(repr, self.near))}?" if self.near else f"known: {_listed(self.known)}"
        super().__init__(f"{where}: no {kind} is called {name!r}; {hint}")


class NotFound(PlatformError):
    """Nothing is stored under that name."""

    code: ClassVar[str] = "not_found"

    def __init__(self, *, kind: str, name: str, remedy: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} does not exist. {remedy}")


class Conflict(PlatformError):
    """Somebody else changed the thing first, or it is not in a state that allows the move."""

    code: ClassVar[str] = "conflict"


class Forbidden(PlatformError):
    """This principal may not do that."""

    code: ClassVar[str] = "forbidden"


class IntegrityViolation(PlatformError):
    """Stored bytes are not those that were published."""

    code: ClassVar[str] = "integrity_violation"

    def __init__(self, *, what: str, expected: str, found: str, remedy: str) -> None:
        self.what, self.expected, self.found = what, expected, found
        super().__init__(f"{what}: expected SHA-256 {expected}, found {found}. {remedy}")


class MissingColumns(PlatformError):
    """A source or a table lacks columns that somebody needs."""

    code: ClassVar[str] = "missing_columns"

    def __init__(self, *, asked_by: str, missing: Iterable[str], available: Iterable[str], remedy: str) -> None:
        self.missing = sorted(missing)
        super().__init__(
            f"{asked_by} needs {_listed(self.missing)}, but only {_listed(sorted(available))} exist. {remedy}"
        )


def near_misses(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that look like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
