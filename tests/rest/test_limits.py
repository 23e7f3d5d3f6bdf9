"""A request can't be larger than allowed, and every answer carries the headers that keep a browser in check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
from fastapi import Body, FastAPI

from mlops_assets.rest.limits import SECURITY_HEADERS, BodyLimit, SecurityHeaders
from mlops_assets.rest.problems import add_problem_handlers
from tests.rest.client import Api


def echo() -> Api:
    app = FastAPI()
    add_problem_handlers(app)
    app.add_middleware(BodyLimit, limit_bytes=1_000)
    app.add_middleware(SecurityHeaders)

    @app.post("/echo")
    def _(value: Annotated[float, Body(embed=True, allow_inf_nan=False)]) -> float:
        return value

    return Api(app)


def test_a_body_within_the_limit_passes():
    assert echo().ask("POST", "/echo", json={"value": 1.5}).json() == 1.5


def test_a_body_that_says_it_is_too_large_is_refused():
    answer = echo().ask("POST", "/echo", content=b"x" * 1_001)
    assert answer.status_code == 413
    assert "1000 bytes" in answer.json()["detail"]


def test_a_body_that_does_not_say_how_large_it_is_is_cut_off():
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 100

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=echo().app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post("/echo", content=endless(), headers={"content-type": "application/json"})

    assert asyncio.run(ask()).status_code == 413


def test_not_a_number_is_refused_and_the_refusal_can_be_sent():
    for content in (b'{"value": NaN}', b'{"value": Infinity}', b'{"value": 1', b"\xff\xfe"):
        answer = echo().ask("POST", "/echo", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, content
        assert answer.json()["detail"]


def test_every_answer_has_the_security_headers(api: Api):
    for path in ("/health", "/api/v1/audit", "/nothing"):
        found = api.get(path).headers
        assert {name: found[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
