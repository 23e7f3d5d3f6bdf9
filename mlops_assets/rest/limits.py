"""What a request may look like before anybody looks at its meaning: how large it is, and that its text is text."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.rest.problems import BodyTooLarge, InvalidRequest, problem
from mlops_assets.rest.strict_json import check_json


class WellFormed:
    """Reads the body once, up to a limit, and hands it on; refuses JSON that can be read in two ways."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int) -> None:
        self._app, self._limit_bytes = app, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _check_address(scope)
            body = await self._body(Headers(scope=scope), receive)
        except PlatformError as error:
            await problem(error)(scope, receive, send)
            return
        await self._app(scope, replayed(body, receive), send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the whole body: too large by its declared length is refused at once, otherwise as it arrives."""
        declared = headers.get("content-length", "0")
        # Longer than the limit's digits is larger than the limit, and may be longer than Python reads.
        digits = declared.lstrip("0") if declared.isdecimal() else declared
        if not declared.isdecimal() or len(digits) > len(str(self._limit_bytes)) or int(declared) > self._limit_bytes:
            raise BodyTooLarge(self._limit_bytes)
        body = await read_body(receive, self._limit_bytes)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and (media_type in {"", "application/json"} or media_type.endswith("+json")):
            check_json(body)
        return body


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """Return what was sent.

    Raises:
        BodyTooLarge: as soon as it passes the limit.
        InvalidRequest: if the connection ended before it; what came of it means nothing.
    """
    content, is_more = bytearray(), True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The connection ended before the body did. Send it again.")
        content += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(content) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
    return bytes(content)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body in one piece, then what the connection says."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _check_address(scope: Scope) -> None:
    """Refuse NUL and bad UTF-8 in the path and the query: databases differ in what they make of them."""
    try:
        texts = [part.decode() for part in map(unquote_to_bytes, (scope.get("raw_path") or b"", scope["query_string"]))]
    except UnicodeDecodeError:
        raise InvalidRequest("The address is not UTF-8 after percent-decoding. Encode it as UTF-8.") from None
    if any("\0" in text for text in (*texts, scope["path"])):
        raise InvalidRequest("The address has a NUL character (%00), which no name here contains. Leave it away.")
