"""The page that shows every route and tries it out, under a policy that lets only its own scripts run."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

DOCUMENT = "/openapi.json"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_CDN = "https://cdn.jsdelivr.net"


def explorer_router() -> APIRouter:
    """Return the page of the API's documentation; it needs no caller, its calls do."""
    routes = APIRouter(include_in_schema=False)
    page = get_swagger_ui_html(openapi_url=DOCUMENT, title="mlops_assets", swagger_favicon_url="data:,")
    content = bytes(page.body)
    headers = {"Content-Security-Policy": _policy(content)}

    @routes.get("/docs", response_class=HTMLResponse)
    def explorer() -> HTMLResponse:
        """Show every route."""
        return HTMLResponse(content, headers=headers)

    return routes


def _policy(content: bytes) -> str:
    """Allow the page's own inline script by its hash, Swagger's files from where the page takes them, nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(content)]
    scripts = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {_CDN} {scripts}; style-src {_CDN} 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
