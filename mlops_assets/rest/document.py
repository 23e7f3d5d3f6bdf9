"""What the OpenAPI document says of every route alike: how it refuses, who may, and the idempotency key of writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from mlops_assets.rest.gate import WRITES, Door, Doors, Entrance
from mlops_assets.rest.idempotency import HEADER, KEY_PATTERN
from mlops_assets.rest.problems import TITLES, Problem

_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A new word for every new request, a UUID say: sent again, the request is answered, not done again.",
    "schema": {"type": "string", "pattern": KEY_PATTERN, "minLength": 8, "maxLength": 200},
}


def describe_everywhere(app: FastAPI, doors: Doors) -> None:
    """Complete the application's document."""
    original = app.openapi

    def described() -> dict[str, Any]:
        document = original()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema()
        document["components"].setdefault("securitySchemes", {})["HTTPBasic"] = {"type": "http", "scheme": "basic"}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in _models(doors):
            if model.__name__ in schemas and (examples := _examples(model)):
                schemas[model.__name__]["examples"] = examples
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if (door := _door_of(doors, method.upper(), path)) is not None:
                    _describe(operation, door, method.upper())
        return document

    app.openapi = described


def _describe(operation: dict[str, Any], door: Door, method: str) -> None:
    answers = operation["responses"]
    for status in sorted({*_statuses(door, method), *(int(status) for status in answers if status >= "400")}):
        own = answers.get(str(status), {}).get("content", _PROBLEM) if status == 503 else _PROBLEM
        answers[str(status)] = {"description": TITLES[status], "content": own}
    if door.action is None:
        return
    operation["x-action"] = door.action
    if door.entrance is Entrance.BROWSER:
        operation["security"] = [{"HTTPBearer": []}, {"HTTPBasic": []}]
    if method in WRITES and all(one["name"] != HEADER for one in operation.get("parameters", ())):
        operation.setdefault("parameters", []).append(_KEY)


def _models(doors: Doors) -> Iterator[type[BaseModel]]:
    """Yield what routes answer and take."""
    for door in doors:
        body = door.route.body_field
        for found in (door.route.response_model, None if body is None else body.field_info.annotation):
            if isinstance(found, type) and issubclass(found, BaseModel):
                yield found


def _examples(model: type[BaseModel]) -> list[Any]:
    """Return a model's examples as they are: FastAPI leaves the fields out that are null."""
    extra = model.model_config.get("json_schema_extra")
    examples = extra.get("examples") if isinstance(extra, dict) else None
    return examples if isinstance(examples, list) else []


def _statuses(door: Door, method: str) -> list[int]:
    guarded = [401, 403, 503] if door.action is not None else []
    signs_in = [401, 429, 503] if door.action is None and method in WRITES else []
    named = [404] if "{" in door.template else []
    writes = [409, 413] if method in WRITES else []
    return sorted({*guarded, *signs_in, *named, *writes, 422, 500})


def _door_of(doors: Doors, method: str, path: str) -> Door | None:
    return next((one for one in doors if one.template == path and method in one.methods), None)
