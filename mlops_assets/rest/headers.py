"""Which headers keep a browser in check: no guessing, framing, caching or loading from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
"""No header of CORS is among them: a page of another origin can't read an answer."""

STRICT_TRANSPORT_SECURITY = "max-age=31536000; includeSubDomains"
"""Only over https: a browser ignores it otherwise, and a desktop's http://127.0.0.1 must stay reachable."""


class SecurityHeaders:
    """Adds them to every answer; a route's own value wins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in security_headers(scope["scheme"]).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def security_headers(scheme: str) -> Mapping[str, str]:
    """Return the headers of an answer over `scheme`."""
    secure = {"Strict-Transport-Security": STRICT_TRANSPORT_SECURITY} if scheme == "https" else {}
    return {**SECURITY_HEADERS, **secure}
