"""What is sent to a model: one version, one locale, one case, with every value checked and rendered in one pass."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, canonical_json, fingerprint
from mlops_assets.kernel.words import Locale
from mlops_assets.prompts.spec import PromptVersion, Variable
from mlops_assets.prompts.template import fill

MAXIMUM_OBJECT_BYTES = 64 * 1024

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class InvalidPromptInput(PlatformError):
    """A value for a prompt's variable is missing, left over or not what the prompt declares."""

    code: ClassVar[str] = "invalid_prompt_input"

    def __init__(self, *, prompt: str, variable: str, problem: str, remedy: str) -> None:
        self.prompt, self.variable, self.problem = prompt, variable, problem
        super().__init__(f"prompt {prompt}: variable {variable!r}: {problem}. {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a request. Untrusted values stand in user messages only."""

    role: Literal["system", "user"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that decides an answer. `sha256` is its identity, so an answer can be recorded under it."""

    prompt_id: str
    version: str
    locale: Locale
    case: str
    messages: tuple[Message, ...]
    output_schema: Mapping[str, Json]
    parameters: Mapping[str, Json]

    @property
    def sha256(self) -> str:
        return fingerprint(self.as_json())

    @property
    def name(self) -> str:
        return f"{self.prompt_id}@{self.version}, locale {self.locale}, case {self.case}"

    def as_json(self) -> dict[str, Json]:
        return {
            "prompt_id": self.prompt_id,
            "version": self.version,
            "locale": self.locale,
            "case": self.case,
            "messages": [{"role": one.role, "text": one.text} for one in self.messages],
            "output_schema": self.output_schema,
            "parameters": self.parameters,
        }


def render(version: PromptVersion, values: Mapping[str, Json], *, locale: Locale, case: str) -> Request:
    """Render a version with exactly the variables it declares.

    Raises:
        InvalidPromptInput: if a value is missing, left over, of the wrong type or too long.
    """
    declared = {variable.name: variable for variable in version.variables}
    for name in sorted(declared.keys() - values.keys()):
        raise _refusal(version, name, "it has no value", "Give every declared variable.")
    for name in sorted(values.keys() - declared.keys()):
        raise _refusal(version, name, "it is not declared", f"Give only {', '.join(sorted(declared))}.")
    printed = {name: _printed(version, variable, values[name]) for name, variable in declared.items()}
    try:
        system, user = fill(version.system, printed), fill(version.user, printed)
    except ValueError as error:
        raise _refusal(version, "(all)", str(error), "Shorten the values.") from error
    return Request(
        prompt_id=version.id,
        version=version.version,
        locale=locale,
        case=case,
        messages=(Message(role="system", text=system), Message(role="user", text=user)),
        output_schema=version.output_schema,
        parameters={name: getattr(version.model, name) for name in version.model.__dataclass_fields__},
    )


def _printed(version: PromptVersion, variable: Variable, value: Json) -> str:
    """Check a value against its slot and return the text that stands in the prompt."""
    match variable.type:
        case "number":
            text = _number(version, variable, value)
        case "object":
            text = _object(version, variable, value)
        case "choice" | "text":
            text = _text(version, variable, value)
    if variable.is_trusted or variable.type == "number":
        return text
    return _as_data(text if variable.type == "object" else json.dumps(text, ensure_ascii=False))


def _number(version: PromptVersion, variable: Variable, value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _refusal(version, variable.name, f"{value!r} is not a finite number", "Give a number.")
    low, high = variable.minimum, variable.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise _refusal(version, variable.name, f"{value:g} is out of range", f"Stay between {low} and {high}.")
    return canonical_json(value).decode()


def _object(version: PromptVersion, variable: Variable, value: Json) -> str:
    if not isinstance(value, Mapping):
        raise _refusal(version, variable.name, f"it is a {type(value).__name__}", "Give a mapping.")
    try:
        size = len(canonical_json(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise _refusal(version, variable.name, f"it is not JSON: {error}", "Give finite numbers and text.") from error
    if size > MAXIMUM_OBJECT_BYTES:
        raise _refusal(version, variable.name, f"it has {size} bytes", f"Keep it to {MAXIMUM_OBJECT_BYTES}.")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, default=dict)


def _text(version: PromptVersion, variable: Variable, value: Json) -> str:
    if not isinstance(value, str):
        raise _refusal(version, variable.name, f"it is a {type(value).__name__}", "Give text.")
    if len(value) > variable.maximum_length:
        raise _refusal(
            version, variable.name, f"it has {len(value)} characters", f"Keep it to {variable.maximum_length}."
        )
    if _CONTROL.search(value):
        raise _refusal(version, variable.name, "it holds control or direction characters", "Remove them.")
    if variable.type == "choice" and value not in variable.choices:
        raise _refusal(version, variable.name, f"{value!r} is no choice", f"Choose from {', '.join(variable.choices)}.")
    return value


def _as_data(encoded: str) -> str:
    """Keep JSON from closing the tag around it."""
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e")


def _refusal(version: PromptVersion, variable: str, problem: str, remedy: str) -> InvalidPromptInput:
    return InvalidPromptInput(prompt=version.name, variable=variable, problem=problem, remedy=remedy)
