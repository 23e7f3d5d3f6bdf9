"""What was asked, by whom and how it went: one line of JSON a request, with nothing in it that the caller wrote.

Neither the raw path nor query, headers or body are logged: a secret may be in any of them. The route's template says
what was asked; the request's id leads to the ledger's and the caller's own records.
"""

from __future__ import annotations

import re
import time
from typing import TextIO, cast
from uuid import uuid4

import structlog
from asgi_correlation_id import correlation_id
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops_assets.kernel.clock import Clock

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


def safe_request_id(asked: str) -> str:
    """Return the id that the caller gave the request if it is a short word, else a new one."""
    return asked if _SAFE_ID.fullmatch(asked) else uuid4().hex


class RequestLog:
    """Writes the line when the answer is sent or the request has failed."""

    def __init__(self, app: ASGIApp, *, clock: Clock, stream: TextIO) -> None:
        self._app, self._clock = app, clock
        self._log: structlog.types.FilteringBoundLogger = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[structlog.processors.JSONRenderer(ensure_ascii=False)],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at, began = self._clock.now(), time.perf_counter()
        status, error = 0, ""

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            state = scope.get("state", {})
            door, principal = state.get("door"), state.get("principal")
            client = cast("tuple[str, int] | None", scope.get("client"))
            more = {"error": error} if error else {}
            self._log.info(
                "request",
                at=began_at.isoformat(timespec="milliseconds"),
                request_id=correlation_id.get(),
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=None if door is None else door.template,
                status=status or 500,
                duration_ms=round((time.perf_counter() - began) * 1_000, 2),
                principal=None if principal is None else principal.name,
                remote=None if client is None else client[0],
                **more,
            )
