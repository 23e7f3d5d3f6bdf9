"""Which words are not allowed, and which must be there: rules as data, each with its citation and its own examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.strict_yaml import read_mapping
from mlops_assets.kernel.words import LOCALES, Locale
from mlops_assets.prompts.negation import is_denied
from mlops_assets.prompts.spec import Audience, Text, Version

Language = Literal["any", "en", "ko"]
LANGUAGES: tuple[Language, ...] = ("any", "en", "ko")
LEAST_FIXTURES = 3

_NO_OTHER_KEYS = ConfigDict(extra="forbid")

Patterns = Mapping[Language, tuple[re.Pattern[str], ...]]


class Severity(StrEnum):
    """How bad a finding is. A high one stops the version; the others are reported."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of an answer: the JSON pointer to it and its words."""

    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFinding:
    """A rule that an answer breaks, and the span that breaks it."""

    rule: str
    rule_version: str
    severity: Severity
    citation: str
    where: str
    start: int
    end: int
    quote: str
    problem: str

    def as_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"severity": str(self.severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixtures:
    """Examples in one language: what the rule flags and what it leaves alone."""

    __pydantic_config__ = _NO_OTHER_KEYS

    flagged: Annotated[tuple[str, ...], Field(min_length=LEAST_FIXTURES)]
    clean: Annotated[tuple[str, ...], Field(min_length=LEAST_FIXTURES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """The fields of a rule's file."""

    __pydantic_config__ = _NO_OTHER_KEYS

    id: Annotated[str, Field(pattern=r"^[A-Z]{2,6}-[0-9]{2}$")]
    version: Version
    title: Text
    severity: Severity
    audience: Annotated[tuple[Audience, ...], Field(min_length=1)]
    citation: Text
    rationale: Text
    fixtures: dict[Locale, Fixtures]
    is_negatable: bool = True
    forbids: dict[Language, tuple[str, ...]] = field(default_factory=dict["Language", tuple[str, ...]])
    when: dict[Language, tuple[str, ...]] = field(default_factory=dict["Language", tuple[str, ...]])
    demands: dict[Language, tuple[str, ...]] = field(default_factory=dict["Language", tuple[str, ...]])

    def __post_init__(self) -> None:
        if bool(self.forbids) == bool(self.demands) or bool(self.when) != bool(self.demands):
            raise ValueError("a rule either forbids, or demands when")
        if missing := set(LOCALES) - self.fixtures.keys():
            raise ValueError(f"fixtures lack {sorted(missing)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """One rule. `forbids` flags what is found; `demands` flags an answer that has the occasion, `when`, but not it."""

    id: str
    version: str
    title: str
    severity: Severity
    audience: tuple[Audience, ...]
    citation: str
    rationale: str
    is_negatable: bool
    forbids: Patterns
    when: Patterns
    demands: Patterns
    fixtures: Mapping[Locale, Fixtures]
    fingerprint: str
    declared_in: Path

    @property
    def name(self) -> str:
        """Return the public name, `id@version`."""
        return f"{self.id}@{self.version}"

    @classmethod
    def parse(cls, text: str, file: Path) -> PolicyRule:
        """Read a rule from the text of `catalog/policies/<id>.yaml`; see `from_mapping`."""
        return cls.from_mapping(read_mapping(text, file), file)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Json], file: Path) -> PolicyRule:
        """Read a rule and try it on its own examples.

        Raises:
            InvalidDeclaration: naming the file, the field and the remedy, also where an example is judged wrongly.
        """
        content = parse_declaration(_Content, mapping, file)
        if content.id != file.stem:
            raise InvalidDeclaration(
                file=file, field="id", problem=f"{content.id!r} is not the file's name", remedy=f"Call it {file.stem}."
            )
        rule = cls(
            id=content.id,
            version=content.version,
            title=content.title,
            severity=content.severity,
            audience=content.audience,
            citation=content.citation,
            rationale=content.rationale,
            is_negatable=content.is_negatable,
            forbids=_compiled(content.forbids, "forbids", file),
            when=_compiled(content.when, "when", file),
            demands=_compiled(content.demands, "demands", file),
            fixtures=content.fixtures,
            fingerprint=fingerprint(mapping),
            declared_in=file,
        )
        rule.try_fixtures()
        return rule

    def try_fixtures(self) -> None:
        """Judge the rule's own examples.

        Raises:
            InvalidDeclaration: at the first one that is judged wrongly.
        """
        for locale, examples in self.fixtures.items():
            for kind, texts in (("flagged", examples.flagged), ("clean", examples.clean)):
                for text in texts:
                    is_flagged = bool(self.findings([Passage(where="", text=text)], locale))
                    if is_flagged != (kind == "flagged"):
                        raise InvalidDeclaration(
                            file=self.declared_in,
                            field=f"fixtures.{locale}.{kind}",
                            problem=f"the rule {'flags' if is_flagged else 'misses'} {text!r}",
                            remedy="Mend the patterns or the example.",
                        )

    def applies_to(self, audience: Audience) -> bool:
        return audience in self.audience

    def findings(self, passages: Sequence[Passage], locale: Locale) -> list[PolicyFinding]:
        """Return what the rule flags in an answer written for a reader of `locale`."""
        if self.demands:
            return self._unmet_demand(passages, locale)
        return [
            self._finding(passage, match, f"{self.title}: {match[0]!r}")
            for passage in passages
            for match in self._affirmed(self.forbids, passage.text, LANGUAGES)
        ]

    def _unmet_demand(self, passages: Sequence[Passage], locale: Locale) -> list[PolicyFinding]:
        """Flag the first occasion of the demand, unless some passage meets it in the reader's language."""
        if any(self._affirmed(self.demands, passage.text, ("any", locale)) for passage in passages):
            return []
        for passage in passages:
            for match in _matches(self.when, passage.text, LANGUAGES):
                return [self._finding(passage, match, self.title)]
        return []

    def _affirmed(self, patterns: Patterns, text: str, languages: Sequence[Language]) -> list[re.Match[str]]:
        found = _matches(patterns, text, languages)
        if not self.is_negatable:
            return found
        return [match for match in found if not is_denied(text, match.start(), match.end())]

    def _finding(self, passage: Passage, match: re.Match[str], problem: str) -> PolicyFinding:
        return PolicyFinding(
            rule=self.id,
            rule_version=self.version,
            severity=self.severity,
            citation=self.citation,
            where=passage.where,
            start=match.start(),
            end=match.end(),
            quote=match[0][:200],
            problem=problem,
        )


def _matches(patterns: Patterns, text: str, languages: Sequence[Language]) -> list[re.Match[str]]:
    found = [
        match for language in languages for pattern in patterns.get(language, ()) for match in pattern.finditer(text)
    ]
    return sorted(found, key=lambda match: match.span())


def _compiled(written: Mapping[Language, Sequence[str]], field: str, file: Path) -> Patterns:
    compiled: dict[Language, tuple[re.Pattern[str], ...]] = {}
    for language, expressions in written.items():
        try:
            patterns = tuple(re.compile(expression, re.IGNORECASE) for expression in expressions)
        except re.error as error:
            raise InvalidDeclaration(
                file=file,
                field=f"{field}.{language}",
                problem=f"{error.pattern!r}: {error}",
                remedy="Mend the regular expression.",
            ) from error
        if any(pattern.match("") for pattern in patterns):
            raise InvalidDeclaration(
                file=file,
                field=f"{field}.{language}",
                problem="an expression matches the empty text",
                remedy="Make it demand some letters.",
            )
        compiled[language] = patterns
    return compiled
