"""How an answer is recorded: the requests that wait for one, and the file that keeps it.

For people who write or refresh recorded answers; the graph itself only reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from mlops_assets.kernel.fingerprint import Json
from mlops_assets.prompts.context import planned_requests, printed
from mlops_assets.prompts.facts import Facts
from mlops_assets.prompts.providers import ModelProvider, NoRecordedAnswer, Origin, Recording
from mlops_assets.prompts.render import Request
from mlops_assets.prompts.spec import PromptVersion

_PLACEHOLDER = re.compile(r"\[\[\s*(?P<key>[^\[\]|]+?)\s*(?:\|[^\[\]|]*)?\]\]")


def pending_requests(version: PromptVersion, facts: Facts | None, provider: ModelProvider) -> list[Request]:
    """Return the requests of a version that have no recorded answer."""
    pending: list[Request] = []
    for request in planned_requests(version, facts):
        try:
            provider.answer(request)
        except NoRecordedAnswer:
            pending.append(request)
    return pending


def record_answer(request: Request, answer: Mapping[str, Json], *, prompts: Path, origin: Origin) -> Path:
    """Keep `answer` for `request` under `<prompts>/<id>/recorded/` and return the file. It replaces an earlier one."""
    file = prompts / request.prompt_id / "recorded" / f"{request.version}.{request.locale}.{request.case}.json"
    Recording(request=request.as_json(), request_sha256=request.sha256, answer=answer, origin=origin, file=file).write()
    return file


def with_stored_numbers(answer: Json, facts: Facts) -> Json:
    """Return an answer whose anchors print the stored values anew; the words around them are the author's to re-read.

    An anchor may be written without a number, `[[covid_crash.sma_crossover.total_return]]`.
    """
    if isinstance(answer, str):
        return _PLACEHOLDER.sub(lambda match: f"[[{match['key']}|{printed(match['key'], facts)}]]", answer)
    if isinstance(answer, Mapping):
        return {key: with_stored_numbers(value, facts) for key, value in cast("Mapping[str, Json]", answer).items()}
    if isinstance(answer, bool | int | float | None):
        return answer
    return [with_stored_numbers(value, facts) for value in answer]
