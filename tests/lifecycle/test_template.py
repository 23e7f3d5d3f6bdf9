"""Every kind's template asks for what it says, field by field, whatever kinds there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mlops_assets.lifecycle.learner import Kind
from mlops_assets.lifecycle.template import TEMPLATES, IncompleteMetadata, require_complete
from mlops_assets.lifecycle.training.candidate import train_candidate
from tests.lifecycle.worlds import small_spec, training_set

COMMON = {
    "purpose",
    "scope",
    "assumptions",
    "limitations",
    "owner",
    "tier",
    "seed",
    "training_set_fingerprint",
    "inputs",
    "feature_views",
    "code_version",
    "environment",
    "trials",
    "declaration",
    "walk_forward",
    "skill",
}


def _example(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Any:
    """Return the least value that a JSON schema allows."""
    if "$ref" in node:
        return _example(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    if "anyOf" in node:
        return _example(schema, node["anyOf"][0])
    match node.get("type"):
        case "object" if "properties" in node:
            return {name: _example(schema, one) for name, one in node["properties"].items()}
        case "object":
            value = node.get("additionalProperties")
            return {"one": _example(schema, value) if isinstance(value, dict) else 1}
        case "array":
            return [_example(schema, node["items"])] * max(node.get("minItems", 1), 1)
        case "string":
            return "a" * 64 if "pattern" in node else "long enough"
        case "integer":
            return max(node.get("minimum", 1), 1)
        case "number":
            return max(node.get("minimum", 0.5), 0.5)
        case "boolean":
            return True
        case _:
            raise AssertionError(node)


def _paths(value: Mapping[str, Any], schema: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field of the template, those of nested templates too."""
    for name, one in node["properties"].items():
        yield (name,)
        nested = schema["$defs"].get(one.get("$ref", "").rsplit("/", 1)[-1], {})
        if "properties" in nested:
            yield from ((name, *rest) for rest in _paths(value[name], schema, nested))


def _without(value: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {name: one for name, one in value.items() if name != first}
    return {**value, first: _without(value[first], tuple(rest))}


@pytest.fixture(params=sorted(TEMPLATES))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def test_every_field_that_is_left_out_is_named(kind: Kind):
    schema = TEMPLATES[kind].model_json_schema()
    full = _example(schema, schema)
    require_complete("a_model", kind, full)
    paths = list(_paths(full, schema, schema))
    assert len(paths) > 50
    for path in paths:
        with pytest.raises(IncompleteMetadata) as caught:
            require_complete("a_model", kind, _without(full, path))
        assert caught.value.missing == [".".join(path)]


def test_all_that_is_missing_is_named_at_once(kind: Kind):
    with pytest.raises(IncompleteMetadata) as caught:
        require_complete("a_model", kind, {})
    assert set(TEMPLATES[kind].model_fields) == set(caught.value.missing)
    assert set(caught.value.missing) >= COMMON


def test_a_field_that_no_template_knows_is_refused(kind: Kind):
    schema = TEMPLATES[kind].model_json_schema()
    with pytest.raises(IncompleteMetadata, match="sharpe_ratio missing or wrong"):
        require_complete("a_model", kind, {**_example(schema, schema), "sharpe_ratio": 9.0})


def test_every_field_says_what_it_means(kind: Kind):
    schema = TEMPLATES[kind].model_json_schema()
    blocks = {kind: schema, **schema["$defs"]}
    silent = [
        f"{block}.{name}"
        for block, node in blocks.items()
        for name, one in node.get("properties", {}).items()
        if not one.get("description")
    ]
    assert silent == []


def test_what_training_says_lacks_only_what_the_stores_know():
    said = train_candidate(training_set(), small_spec()).metadata()
    with pytest.raises(IncompleteMetadata) as caught:
        require_complete("a_model", "classifier", said)
    assert caught.value.missing == sorted(
        ["training_set_fingerprint", "inputs", "feature_views", "code_version", "environment", "trials"]
    )
