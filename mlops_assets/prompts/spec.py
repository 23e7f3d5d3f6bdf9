"""What a version of a prompt is: who owns it, what it is given, what it must answer and what it is measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.semantic_version import is_version
from mlops_assets.kernel.strict_yaml import MAXIMUM_BYTES, read_mapping
from mlops_assets.kernel.words import Locale
from mlops_assets.prompts.template import variables_of

Audience = Literal["internal", "professional", "retail"]

_FENCE = "---"
_SYSTEM, _USER = "# System", "# User"
_NO_OTHER_KEYS = ConfigDict(extra="forbid")


def _semantic(text: str) -> str:
    if not is_version(text):
        raise ValueError(f"{text!r} is no semantic version; write it like 1.0.0")
    return text


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,59}$")]
Version = Annotated[str, AfterValidator(_semantic)]
Owner = Annotated[str, Field(pattern=r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+)$")]
Text = Annotated[str, Field(min_length=3, max_length=4_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A typed slot of the prompt. Untrusted values are data: they are encoded and never stand in the system part.

    `source` says who fills it when the version is evaluated: the locale, the report, or the case.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    name: Name
    type: Literal["text", "choice", "number", "object"]
    description: Text
    is_trusted: bool
    source: Literal["locale", "report", "case"]
    choices: tuple[str, ...] = ()
    maximum_length: Annotated[int, Field(ge=1, le=100_000)] = 4_000
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if bool(self.choices) != (self.type == "choice"):
            raise ValueError(f"variable {self.name!r} of type {self.type} has {len(self.choices)} choices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way the version is tried when it is evaluated: values for the variables whose source is `case`."""

    __pydantic_config__ = _NO_OTHER_KEYS

    name: Name
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParameters:
    """How a model is asked. They are part of the request, so a change of them asks for new answers."""

    __pydantic_config__ = _NO_OTHER_KEYS

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    maximum_output_tokens: Annotated[int, Field(ge=1, le=100_000)] = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What an evaluation must reach: the share of numeric claims that are supported, and how many an answer makes."""

    __pydantic_config__ = _NO_OTHER_KEYS

    supported_claims: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    claims_per_answer: Annotated[int, Field(ge=0, le=1_000)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrontMatter:
    """The fields of a prompt's file."""

    __pydantic_config__ = _NO_OTHER_KEYS

    id: Name
    version: Version
    owner: Owner
    description: Annotated[str, Field(min_length=10, max_length=4_000)]
    audience: Audience
    locales: Annotated[tuple[Locale, ...], Field(min_length=1)]
    variables: tuple[Variable, ...]
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]
    output: dict[str, Any]
    policies: tuple[str, ...]
    model: ModelParameters = ModelParameters()
    thresholds: Thresholds = Thresholds()
    report: Name | None = None
    candidate: Name | None = None
    baseline: Name | None = None
    metrics: tuple[Name, ...] = ()
    aliases: dict[Name, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __post_init__(self) -> None:
        """Check what concerns several fields at once."""
        for what, names in (
            ("locale", self.locales),
            ("variable", [variable.name for variable in self.variables]),
            ("case", [case.name for case in self.cases]),
            ("policy", self.policies),
            ("metric", self.metrics),
            ("variable from the locale", [one.source for one in self.variables if one.source == "locale"]),
            ("variable from the report", [one.source for one in self.variables if one.source == "report"]),
        ):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"{what} {twice[0]!r} is named twice")
        narrated = (self.report, self.candidate, self.baseline, *(self.metrics or (None,)))
        has_slot = any(variable.source == "report" for variable in self.variables)
        if {one is not None for one in narrated} != {has_slot}:
            raise ValueError("report, candidate, baseline, metrics and a variable with source report go together")
        wanted = {variable.name for variable in self.variables if variable.source == "case"}
        for case in self.cases:
            if case.values.keys() != wanted:
                raise ValueError(f"case {case.name!r} gives {sorted(case.values)}; give exactly {sorted(wanted)}")
        if self.output.get("type") != "object" or self.output.get("additionalProperties") is not False:
            raise ValueError("output is a JSON schema with type: object and additionalProperties: false")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """One immutable version of a prompt, as its file declares it.

    `report` names the report whose KPIs the prompt narrates, `metrics` those of them it is given, `aliases` what its
    candidates are called in prose. `fingerprint` covers the front matter and the body, not the file's name or layout.
    """

    id: str
    version: str
    owner: str
    description: str
    audience: Audience
    locales: tuple[Locale, ...]
    variables: tuple[Variable, ...]
    cases: tuple[Case, ...]
    report: str | None
    candidate: str | None
    baseline: str | None
    metrics: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]
    output_schema: Mapping[str, Json]
    model: ModelParameters
    policies: tuple[str, ...]
    thresholds: Thresholds
    system: str
    user: str
    fingerprint: str
    declared_in: Path

    @property
    def name(self) -> str:
        """Return the public name, `id@version`."""
        return f"{self.id}@{self.version}"

    @classmethod
    def parse(cls, text: str, file: Path) -> PromptVersion:
        """Read a version from the text of `catalog/prompts/<id>/<version>.md`.

        Raises:
            InvalidDeclaration: naming the file, the field and the remedy.
        """
        front_matter, body = _split(text, file)
        mapping = read_mapping(front_matter, file)
        content = parse_declaration(_FrontMatter, mapping, file)
        system, user = _parts(body, file)
        _check_names(content, file)
        _check_template(content, system=system, user=user, file=file)
        return cls(
            id=content.id,
            version=content.version,
            owner=content.owner,
            description=content.description.strip(),
            audience=content.audience,
            locales=content.locales,
            variables=content.variables,
            cases=content.cases,
            report=content.report,
            candidate=content.candidate,
            baseline=content.baseline,
            metrics=content.metrics,
            aliases=content.aliases,
            output_schema=content.output,
            model=content.model,
            policies=content.policies,
            thresholds=content.thresholds,
            system=system,
            user=user,
            fingerprint=fingerprint({"front_matter": mapping, "system": system, "user": user}),
            declared_in=file,
        )


def _split(text: str, file: Path) -> tuple[str, str]:
    """Return the front matter and the body."""
    if len(text) > MAXIMUM_BYTES:
        raise _refusal(file, "(file)", f"it has {len(text)} characters", f"Keep it to {MAXIMUM_BYTES}.")
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != _FENCE or _FENCE not in lines[1:]:
        raise _refusal(
            file,
            "(front matter)",
            "it does not stand between two lines of ---",
            "Start the file with ---, the YAML fields, and --- again.",
        )
    end = lines.index(_FENCE, 1)
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :])


def _parts(body: str, file: Path) -> tuple[str, str]:
    """Split the body at its two headings: instructions and data never share a message."""
    lines = body.strip().split("\n")
    if lines[0] != _SYSTEM or lines.count(_SYSTEM) != 1 or lines.count(_USER) != 1:
        raise _refusal(
            file, "(body)", "it is not one system and one user part", f"Write {_SYSTEM!r}, rules, {_USER!r}, data."
        )
    at = lines.index(_USER)
    system, user = "\n".join(lines[1:at]).strip(), "\n".join(lines[at + 1 :]).strip()
    if not system or not user:
        raise _refusal(file, "(body)", "a part is empty", f"Write text under {_SYSTEM!r} and under {_USER!r}.")
    return system, user


def _check_names(content: _FrontMatter, file: Path) -> None:
    if content.id != file.parent.name:
        raise _refusal(file, "id", f"{content.id!r} is not the folder's name", f"Call it {file.parent.name!r}.")
    if file.name != f"{content.version}.md":
        raise _refusal(
            file, "version", f"{content.version!r} is not the file's name", f"Call the file {content.version}.md."
        )


def _check_template(content: _FrontMatter, *, system: str, user: str, file: Path) -> None:
    try:
        in_system, in_user = variables_of(system), variables_of(user)
    except ValueError as error:
        raise _refusal(file, "(body)", str(error), "Use {{ variable }} and {% if %} only.") from error
    declared = {variable.name for variable in content.variables}
    if undeclared := sorted((in_system | in_user) - declared):
        raise _refusal(file, "(body)", f"it uses undeclared variables {undeclared}", "Declare them under variables.")
    if unused := sorted(declared - in_system - in_user):
        raise _refusal(file, "variables", f"the body never uses {unused}", "Use or remove them.")
    if exposed := sorted(one.name for one in content.variables if not one.is_trusted and one.name in in_system):
        raise _refusal(file, "(body)", f"untrusted {exposed} stand in the system part", f"Move them under {_USER!r}.")


def _refusal(file: Path, field: str, problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(file=file, field=field, problem=problem, remedy=remedy)
