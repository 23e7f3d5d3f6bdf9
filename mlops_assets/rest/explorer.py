"""The page that lists every route with what it takes, answers and refuses: made here, of the OpenAPI document alone.

It runs no script and loads nothing, so it reads the same without a network, and its policy forbids both.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from html import escape
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

DOCUMENT = "/openapi.json"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "h2{margin-top:2.5rem;border-bottom:1px solid #ccc}summary{cursor:pointer;padding:.3rem 0}"
    "details>div{margin:0 0 1rem 1.2rem}code,pre{font:13px/1.4 ui-monospace,monospace}"
    "pre{background:#f4f4f4;padding:.6rem;overflow:auto}table{border-collapse:collapse}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}.action{color:#666}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def explorer_router(document: Callable[[], Mapping[str, Any]]) -> APIRouter:
    """Return the page of the API's documentation; it needs no caller."""
    routes = APIRouter(include_in_schema=False)
    once = cache(lambda: page(document()))

    @routes.get("/docs", response_class=HTMLResponse)
    def explorer() -> HTMLResponse:
        """Show every route."""
        return HTMLResponse(once(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    return routes


def page(document: Mapping[str, Any]) -> str:
    """Write the document as one page."""
    info = document["info"]
    return "".join(
        (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(info["title"])}</title>',
            f"<style>{_STYLE}</style><h1>{_text(info['title'])} {_text(info['version'])}</h1>",
            f"<p>{_text(info.get('summary', ''))} {_text(info.get('description', ''))}</p>",
            f'<p>For programs: <a href="{DOCUMENT}">{DOCUMENT}</a>.</p>',
            *_routes(document["paths"]),
            "<h2>Models</h2>",
            *(
                f'<details id="{_text(name)}"><summary><code>{_text(name)}</code></summary>'
                f"<div><p>{_text(model.get('description', ''))}</p>{_json(model)}</div></details>"
                for name, model in sorted(document["components"]["schemas"].items())
            ),
            "</html>",
        )
    )


def _routes(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the routes, below the heading of their first tag."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in paths.items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_route(method.upper(), path, operation))
    for tag, found in by_tag.items():
        yield f"<h2>{_text(tag)}</h2>"
        yield from found


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    asked = operation.get("requestBody", {}).get("content", {})
    answers = (
        f"<tr><td>{_text(status)}</td><td>{_text(answer['description'])}</td><td>{_models(answer)}</td></tr>"
        for status, answer in sorted(operation["responses"].items())
    )
    return "".join(
        (
            f"<details><summary><code>{method} {_text(path)}</code> {_text(operation.get('summary', ''))} ",
            f'<span class="action">{_text(operation.get("x-action", "nobody is asked"))}</span></summary><div>',
            f"<p>{_text(operation.get('description', ''))}</p>",
            _parameters(operation.get("parameters", ())),
            f"<p>Body: {_models({'content': asked})}</p>" if asked else "",
            f"<table><tr><th>Status</th><th></th><th>Model</th></tr>{''.join(answers)}</table></div></details>",
        )
    )


def _parameters(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        f"<tr><td><code>{_text(one['name'])}</code></td><td>{_text(one['in'])}"
        f"{', required' if one.get('required') else ''}</td><td>{_text(one.get('description', ''))}</td>"
        f"<td><code>{_text(json.dumps(one.get('schema', {})))}</code></td></tr>"
        for one in parameters
    )
    body = "".join(rows)
    return f"<table><tr><th>Parameter</th><th>In</th><th></th><th>Schema</th></tr>{body}</table>" if body else ""


def _models(described: Mapping[str, Any]) -> str:
    """Link the models of a body; one that has no name is shown as it is."""
    schemas = (one.get("schema", {}) for one in described.get("content", {}).values())
    return " ".join(_link(schema) for schema in schemas if schema)


def _link(schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#{_text(name)}">{_text(name)}</a>' if name else f"<code>{_text(json.dumps(schema))}</code>"


def _json(value: object) -> str:
    return f"<pre>{_text(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(value: object) -> str:
    return escape(str(value))
