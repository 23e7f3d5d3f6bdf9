"""What does a version answer: its requests put to a provider, and the answers as a table to be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import Conflict, IntegrityViolation
from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.kernel.words import Locale
from mlops_assets.prompts.context import planned_requests
from mlops_assets.prompts.facts import Facts
from mlops_assets.prompts.grade import Output
from mlops_assets.prompts.providers import Answer, ModelProvider, Origin, OriginKind
from mlops_assets.prompts.spec import PromptVersion

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    Column(name="prompt_id", type="string", description="The prompt."),
    Column(name="version", type="string", description="Its version."),
    Column(name="case", type="string", description="The case that the answer was asked for."),
    Column(name="locale", type="string", description="The reader's language."),
    Column(name="request_sha256", type="string", description="SHA-256 of the canonical request."),
    Column(name="answer", type="string", description="The answer as it came, with its anchors."),
    Column(name="answer_sha256", type="string", description="SHA-256 of the answer."),
    Column(name="origin", type="string", description="recorded, scripted or live."),
    Column(name="origin_author", type="string", description="Who wrote a recorded answer, or which model gave it."),
    Column(name="origin_statement", type="string", description="Where the answer comes from, in a sentence."),
)


def ask(version: PromptVersion, facts: Facts | None, provider: ModelProvider) -> list[Output]:
    """Put every planned request to the provider and return the answers in the same order."""
    return [
        Output(locale=request.locale, case=request.case, answer=provider.answer(request))
        for request in planned_requests(version, facts)
    ]


def inputs_of(version: PromptVersion, facts: Facts | None) -> dict[str, str]:
    """Name what the answers are made from, by fingerprint."""
    inputs = {_prompt_input(version): version.fingerprint}
    return inputs if facts is None else inputs | {f"reports/{version.report}": facts.report_sha256}


def report_of(version: PromptVersion, inputs: Mapping[str, str]) -> str | None:
    """Return the hash of the report that published answers narrate.

    Raises:
        Conflict: if the answers were given to another content of the prompt.
    """
    if inputs.get(_prompt_input(version)) != version.fingerprint:
        raise Conflict(
            f"the published answers of {version.name} were given to another content of the prompt: "
            f"{inputs.get(_prompt_input(version))}, and it is {version.fingerprint} now. "
            f"Materialise prompt_outputs/{version.id} for partition {version.version} first."
        )
    return inputs.get(f"reports/{version.report}")


def _prompt_input(version: PromptVersion) -> str:
    return f"prompts/{version.name}"


def as_table(version: PromptVersion, outputs: Sequence[Output]) -> pa.Table:
    """Return the answers as a table with the columns of `COLUMNS`."""
    import pyarrow as pa

    rows = [
        {
            "prompt_id": version.id,
            "version": version.version,
            "case": one.case,
            "locale": one.locale,
            "request_sha256": one.answer.request_sha256,
            "answer": one.answer.text,
            "answer_sha256": bytes_sha256(one.answer.text.encode()),
            "origin": one.answer.origin.kind,
            "origin_author": one.answer.origin.author,
            "origin_statement": one.answer.origin.statement,
        }
        for one in outputs
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(column.name, pa.string()) for column in COLUMNS]))


def from_table(table: pa.Table) -> list[Output]:
    """Return the answers that `as_table` wrote.

    Raises:
        IntegrityViolation: if an answer is not the one its hash names.
    """
    return [_output(cast("dict[str, str]", row)) for row in table.to_pylist()]


def _output(row: dict[str, str]) -> Output:
    if (found := bytes_sha256(row["answer"].encode())) != row["answer_sha256"]:
        raise IntegrityViolation(
            what=f"answer to {row['request_sha256']}",
            expected=row["answer_sha256"],
            found=found,
            remedy=f"Materialise prompt_outputs/{row['prompt_id']} again.",
        )
    origin = Origin(
        kind=cast("OriginKind", row["origin"]), author=row["origin_author"], statement=row["origin_statement"]
    )
    answer = Answer(request_sha256=row["request_sha256"], text=row["answer"], origin=origin)
    return Output(locale=cast("Locale", row["locale"]), case=row["case"], answer=answer)
