"""The page of experiment templates: what a trained version must say of itself before it is registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops_assets.cli.markdown import plain, table

_HEAD = (
    "# Experiment templates\n\n"
    "What a trained version must say of itself before it is registered. A run that leaves a field out is refused with "
    "the list of all that is missing, nothing is registered, and its MLflow run is FAILED with the reason in the tag "
    "`mlops.failure`. How to start a model: [the guide](../guide/models.md).\n"
)


def page() -> str:
    """Print the template of each kind: the fields of every kind once, then those of its own."""
    from mlops_assets.lifecycle.common_template import CommonTemplate
    from mlops_assets.lifecycle.template import TEMPLATES

    common = CommonTemplate.model_json_schema()
    parts = [_HEAD, "## Every kind\n", plain(common["description"]) + "\n", _fields(common, common["properties"])]
    parts += _blocks(common, told=set())
    shared = set(common["$defs"])
    for kind, template in TEMPLATES.items():
        schema = template.model_json_schema()
        own = {name: one for name, one in schema["properties"].items() if name not in common["properties"]}
        parts += [f"## {kind.capitalize()}\n", plain(schema["description"]) + "\n", _fields(schema, own)]
        parts += _blocks(schema, told=shared)
    return "\n".join(parts)


def _blocks(schema: Mapping[str, Any], *, told: set[str]) -> Iterator[str]:
    """Yield the tables of the nested blocks that were not told above."""
    for name, node in sorted(schema["$defs"].items()):
        if name not in told:
            yield f"### {name}\n\n{plain(node.get('description', ''))}\n"
            yield _fields(schema, node["properties"])


def _fields(schema: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(f"`{name}`", _type(one), plain(one.get("description", ""))) for name, one in properties.items()]
    return table(("field", "type", "what it is"), rows)


def _type(node: Mapping[str, Any]) -> str:
    """Say in a few words what a field holds."""
    if "$ref" in node:
        return str(node["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in node:
        return " or ".join(_type(one) for one in node["anyOf"])
    match node.get("type"):
        case "array":
            least = f", at least {node['minItems']}" if "minItems" in node else ""
            return f"list of {_type(node['items'])}{least}"
        case "object":
            held = node.get("additionalProperties")
            return f"{_type(held)} by name" if isinstance(held, Mapping) else "JSON object"
        case "string" if "pattern" in node:
            return "SHA-256"
        case kind:
            bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
            return ", ".join([str(kind), *(f"{sign} {node[name]:g}" for name, sign in bounds.items() if name in node)])
