"""What is looked at in a browser: sealed reports, fenced off from everything else."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from mlops_assets.evaluation.store import ReportStore

CONTENT_SECURITY_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; form-action 'none'"
)
"""A report is self-contained: nothing of it may run, call out or be sent."""


def pages_router(reports: ReportStore) -> APIRouter:
    """Return the pages. A browser signs in with the token as the password of any user."""
    routes = APIRouter(tags=["pages"])

    @routes.get("/reports/{sha256}", response_class=HTMLResponse)
    def report_page(sha256: str) -> Response:
        """Show the page of a sealed report."""
        return HTMLResponse(reports.html(sha256), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    return routes
