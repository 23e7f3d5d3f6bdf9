"""What a dossier can be about: one model version, one sealed report or one version of a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mlops_assets.kernel.errors import NotFound, near_misses

_WRITTEN = re.compile(r"(?P<kind>models|reports|prompts)/(?P<name>[^@]+)(?:@(?P<version>[^@]+))?")
_SHAPES = "models/<name>@<version>, reports/<name>, reports/<name>@<beginning of its SHA-256> or prompts/<id>@<version>"


class SubjectKind(StrEnum):
    """The three things that are approved."""

    MODEL = "models"
    REPORT = "reports"
    PROMPT = "prompts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of them. `version` is the number of a model, the whole SHA-256 of a report, a prompt's semantic version."""

    kind: SubjectKind
    name: str
    version: str

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.name}@{self.version}"


def find_subject(asked: str, known: Iterable[Subject]) -> Subject:
    """Return the subject that `asked` names.

    Args:
        known: all there are; those of one name with the latest last.

    Raises:
        NotFound: naming near misses, or what the beginning of a hash could mean.
    """
    subjects = list(known)
    written = _WRITTEN.fullmatch(asked)
    if written is None:
        raise NotFound(kind="subject", name=asked, remedy=_remedy(asked, subjects))
    kind, name, version = SubjectKind(written["kind"]), written["name"], written["version"]
    of_name = [one for one in subjects if (one.kind, one.name) == (kind, name)]
    if kind is SubjectKind.REPORT:
        return _report(asked, of_name, version, subjects)
    for one in of_name:
        if one.version == version:
            return one
    raise NotFound(kind="subject", name=asked, remedy=_remedy(asked, subjects))


def _report(asked: str, of_name: list[Subject], beginning: str | None, subjects: list[Subject]) -> Subject:
    found = of_name[-1:] if beginning is None else [one for one in of_name if one.version.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(kind="subject", name=asked, remedy=_remedy(asked, subjects))
    listed = ", ".join(one.version[:16] for one in found)
    raise NotFound(kind="subject", name=asked, remedy=f"Several reports begin so: {listed}. Give more characters.")


def _remedy(asked: str, subjects: list[Subject]) -> str:
    known = sorted({one.id for one in subjects} | {f"reports/{one.name}" for one in subjects if one.kind == "reports"})
    if near := near_misses(asked, known):
        return f"Did you mean {' or '.join(near)}?"
    if not known:
        return "Nothing is registered yet; materialise the graph first."
    some = ", ".join(known[:5])
    return f"Write {_SHAPES}. Known: {some}{' and others' if len(known) > 5 else ''}."
