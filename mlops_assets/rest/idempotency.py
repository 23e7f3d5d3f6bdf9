"""The same request twice is done once: a write that carries an `Idempotency-Key` is answered from its first answer.

The answer is kept after the work is done, in its own transaction: a crash between the two leaves the work without an
answer. The verbs behind the routes stand that: done again, they return the same or say 409.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops_assets.kernel.errors import Conflict, PlatformError
from mlops_assets.rest.answers import Answer, Answers, Turn
from mlops_assets.rest.gate import Door
from mlops_assets.rest.limits import read_body, replayed
from mlops_assets.rest.problems import InvalidRequest, problem

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY_PATTERN = "^[A-Za-z0-9._:-]{8,200}$"


class Idempotency:
    """Stands behind the gatekeeper, so that an answer is only ever given to the principal it was given to before."""

    def __init__(self, app: ASGIApp, *, answers: Answers, limit_bytes: int) -> None:
        self._app, self._answers, self._limit_bytes = app, answers, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.get("state", {})
        door: Door | None = state.get("door")
        if door is None or not door.writes or "principal" not in state or HEADER.lower() not in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        try:
            key = _key(Headers(scope=scope))
            body = await read_body(receive, self._limit_bytes)
            found = await run_in_threadpool(self._answers.begin, state["principal"].name, key, _sha256(scope, body))
        except (PlatformError, SQLAlchemyError) as error:
            await problem(error)(scope, receive, send)
            return
        if isinstance(found, Turn):
            await self._work(found, scope, replayed(body, receive), send)
        else:
            await _again(found)(scope, receive, send)

    async def _work(self, turn: Turn, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route answer, keep the answer, then send it: whoever has seen it finds it again."""
        messages: list[Message] = []

        async def held(message: Message) -> None:
            messages.append(message)

        answer: Answer | None = None
        try:
            await self._app(scope, receive, held)
            answer = _answer(messages, scope["state"]["door"])
        finally:
            # If the database is gone by now, the answer is still the caller's; the turn ends by itself.
            with suppress(SQLAlchemyError):
                if answer is None or answer.status >= 500:
                    await run_in_threadpool(self._answers.give_up, turn)
                else:
                    await run_in_threadpool(self._answers.finish, turn, answer)
        for message in messages:
            await send(message)


def _key(headers: Headers) -> str:
    sent = headers.getlist(HEADER)
    if len(sent) != 1 or not re.fullmatch(KEY_PATTERN, sent[0]):
        raise InvalidRequest(
            f"{HEADER}: send it once, with 8 to 200 of the letters A to Z and a to z, digits and . _ : -; a UUID does."
        )
    return sent[0]


def _sha256(scope: Scope, body: bytes) -> str:
    """Return what tells one request from another: method, address and body, byte for byte."""
    address = b"\0".join((scope["method"].encode(), scope["path"].encode(), scope["query_string"]))
    return hashlib.sha256(hashlib.sha256(address).digest() + hashlib.sha256(body).digest()).hexdigest()


def _answer(messages: list[Message], door: Door) -> Answer:
    start = messages[0]
    is_secret = door.shows_secret and start["status"] < 300
    return Answer(
        status=start["status"],
        media_type=Headers(raw=start["headers"]).get("content-type", ""),
        body=None if is_secret else b"".join(one.get("body", b"") for one in messages[1:]),
    )


def _again(answer: Answer) -> Response:
    if answer.body is None:
        detail = "This was done by the first request with this key. Its secret was shown then, and is kept nowhere."
        response: Response = problem(Conflict(f"{detail} Revoke it and issue another under a new key."))
    else:
        response = Response(answer.body, status_code=answer.status, media_type=None)
        if answer.media_type:
            response.headers["content-type"] = answer.media_type
    response.headers[REPLAYED] = "true"
    return response
