"""Who answers a request: a model behind one protocol, or answers recorded beforehand.

Every answer says where it comes from, and what is made of it carries that on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

from mlops_assets.kernel.errors import IntegrityViolation, InvalidDeclaration, PlatformError
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.prompts.render import Request

MAXIMUM_ANSWER_CHARACTERS = 100_000

OriginKind = Literal["recorded", "scripted", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an answer comes from. The statement is shown wherever the answer or its evaluation is."""

    kind: OriginKind
    author: str
    statement: str


THE_AUTHORS = "the authors of mlops_assets"


def written_by(author: str) -> Origin:
    """Return the origin of an answer that a person wrote down."""
    statement = f"Written by {author} as a recorded example; no live model produced it."
    return Origin(kind="recorded", author=author, statement=statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for a request, bounded in length."""

    request_sha256: str
    text: str
    origin: Origin

    def __post_init__(self) -> None:
        if len(self.text) > MAXIMUM_ANSWER_CHARACTERS:
            raise AnswerRefused(
                f"the answer to {self.request_sha256} has {len(self.text)} characters; the limit is "
                f"{MAXIMUM_ANSWER_CHARACTERS}. Lower model.maximum_output_tokens of the prompt."
            )


class ModelProvider(Protocol):
    """Answers requests. Raises `PlatformError` where it can't; never returns an empty stand-in."""

    def answer(self, request: Request) -> Answer: ...


class AnswerRefused(PlatformError):
    """A provider's answer is not one we keep."""

    code: ClassVar[str] = "answer_refused"


class NoRecordedAnswer(PlatformError):
    """Nothing was recorded for exactly this request."""

    code: ClassVar[str] = "no_recorded_answer"

    def __init__(self, request: Request, *, folder: Path, near: str) -> None:
        self.request = request
        super().__init__(
            f"no recorded answer for {request.name} (request {request.sha256}) in {folder}; {near}. "
            "Recorded answers fit the bundled sample and the prompt's released text only. "
            "Record one with `mlops prompts pending` and `mlops prompts record`, or give the platform another "
            "ModelProvider (services.py, `provider`)."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A request and the answer that was kept for it."""

    request: Mapping[str, Json]
    request_sha256: str
    answer: Mapping[str, Json]
    origin: Origin
    file: Path

    @classmethod
    def read(cls, file: Path) -> Recording:
        """Read a recording and check that it is kept under its own request.

        Raises:
            InvalidDeclaration: if the file does not hold a recording.
            IntegrityViolation: if its request is not the one that its hash names.
        """
        try:
            found = cast("dict[str, Json]", json.loads(file.read_text(encoding="utf-8")))
            origin = cast("dict[str, str]", found["origin"])
            recording = cls(
                request=cast("Mapping[str, Json]", found["request"]),
                request_sha256=str(found["request_sha256"]),
                answer=cast("Mapping[str, Json]", found["answer"]),
                origin=Origin(
                    kind=cast("OriginKind", origin["kind"]), author=origin["author"], statement=origin["statement"]
                ),
                file=file,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidDeclaration(
                file=file, field="(file)", problem=f"it is no recording: {error}", remedy="Record the answer again."
            ) from error
        if (computed := fingerprint(recording.request)) != recording.request_sha256:
            raise IntegrityViolation(
                what=str(file), expected=recording.request_sha256, found=computed, remedy="Record the answer again."
            )
        return recording

    def as_answer(self) -> Answer:
        """Return what a provider answers with."""
        text = json.dumps(self.answer, ensure_ascii=False, default=dict)
        return Answer(request_sha256=self.request_sha256, text=text, origin=self.origin)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "request_sha256": self.request_sha256,
            "origin": {"kind": self.origin.kind, "author": self.origin.author, "statement": self.origin.statement},
            "answer": self.answer,
            "request": self.request,
        }

    def write(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), ensure_ascii=False, indent=2, default=dict)
        self.file.write_text(f"{text}\n", encoding="utf-8")


class Recorded:
    """Replays answers from `<root>/<prompt id>/recorded/*.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def answer(self, request: Request) -> Answer:
        """Return the answer recorded for exactly this request.

        Raises:
            NoRecordedAnswer: if there is none.
        """
        recordings = self.recordings(request.prompt_id)
        for recording in recordings:
            if recording.request_sha256 == request.sha256:
                return recording.as_answer()
        raise NoRecordedAnswer(request, folder=self.root / request.prompt_id, near=_nearest(request, recordings))

    def recordings(self, prompt_id: str) -> list[Recording]:
        """Return every recording of a prompt, by file name."""
        return [Recording.read(file) for file in sorted((self.root / prompt_id / "recorded").glob("*.json"))]


class Scripted:
    """Answers from a mapping of (locale, case) to text, for tests."""

    def __init__(self, texts: Mapping[tuple[str, str], str]) -> None:
        self._texts = texts

    def answer(self, request: Request) -> Answer:
        origin = Origin(kind="scripted", author="a test", statement="Scripted by a test; no model produced it.")
        return Answer(request_sha256=request.sha256, text=self._texts[request.locale, request.case], origin=origin)


def _nearest(request: Request, recordings: list[Recording]) -> str:
    """Say how the request differs from one recorded for the same version, locale and case."""
    wanted = request.as_json()
    for recording in recordings:
        if all(recording.request.get(name) == wanted[name] for name in ("version", "locale", "case")):
            return f"{recording.file.name} was recorded for a request that differs: {_difference(request, recording)}"
    return "none was recorded for this version, locale and case"


def _difference(request: Request, recording: Recording) -> str:
    recorded = cast("list[dict[str, str]]", recording.request.get("messages", []))
    lines = [line for message in recorded for line in message["text"].splitlines()]
    for asked in (line for message in request.messages for line in message.text.splitlines()):
        if asked not in lines:
            return f"asked {asked.strip()[:120]!r}"
    return "its model parameters or its output schema"
