"""A request can't be larger than allowed, however it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated

import httpx
import pytest
from fastapi import Body, FastAPI
from starlette.types import Message

from mlops_assets.rest.limits import WellFormed, read_body
from mlops_assets.rest.problems import InvalidRequest, add_problem_handlers
from tests.rest.client import Api


def echo() -> Api:
    app = FastAPI()
    add_problem_handlers(app)
    app.add_middleware(WellFormed, limit_bytes=1_000)

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


@pytest.mark.parametrize("declared", ["9" * 5_000, "00000000000001001", "-1", "1e3", ""])
def test_a_length_that_no_body_may_have_is_refused(declared: str):
    answer = echo().ask("POST", "/echo", content=b"{}", headers={"content-length": declared})
    assert answer.status_code == 413


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
        assert answer.status_code == 422, content
        assert answer.json()["detail"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "１"])
def test_a_length_that_is_no_number_is_refused(length: str):
    answer = echo().ask("POST", "/echo", content=b"{}", headers={"content-length": length.encode()})
    assert answer.status_code == 413


def test_a_body_of_20_mb_to_a_route_is_413_and_without_a_token_401(api: Api):
    body = b'{"name": "' + b"x" * 20_000_000 + b'"}'
    path, headers = "/api/v1/principals", {"content-type": "application/json"}
    assert api.as_("ada").ask("POST", path, content=body, headers=headers).status_code == 413
    assert replace(api, token=None).ask("POST", path, content=body, headers=headers).status_code == 401


def test_half_a_body_of_a_connection_that_ended_is_no_request():
    messages = iter([{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    with pytest.raises(InvalidRequest, match="ended before"):
        asyncio.run(read_body(receive, 1_000))
