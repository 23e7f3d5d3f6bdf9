"""`mlops docs`: the reference pages, written from the code they describe.

Nothing in them depends on the machine: settings show their defaults, and the home is `.mlops`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from mlops_assets.cli import experiment_docs
from mlops_assets.cli.markdown import plain, table
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.settings import PACKAGE, PREFIX, SOURCE_TREE, Settings, load_settings

if TYPE_CHECKING:
    from dagster import AssetCheckSpec, AssetSpec

    from mlops_assets.services import ServiceFactory

FOLDER = SOURCE_TREE / "docs" / "reference"
_HOME = Path(".mlops")
_HEAD = "<!-- Written by `mlops docs` from the code: do not edit. -->\n\n"
_DEFAULTS_IN_WORDS = {
    "home": "`.mlops` in a clone, otherwise `~/.mlops`",
    "locale": "from `LC_ALL`, `LC_MESSAGES` or `LANG`",
    "catalog_path": "`mlops_assets/catalog`",
}


def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a page is stale.")] = False,
) -> None:
    """Write the reference pages in docs/reference from the code."""
    if not (SOURCE_TREE / "pyproject.toml").is_file():
        raise NotFound(kind="clone", name=str(SOURCE_TREE), remedy="The pages belong to the source; run it there.")
    found = {name: _HEAD + page().rstrip() + "\n" for name, page in pages().items()}
    moved = refresh(FOLDER, found, is_check=check)
    print(f"{len(found)} pages, {len(moved.written)} written, {len(moved.removed)} removed")  # noqa: T201


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The pages that were not what the code says, and those of what no longer exists."""

    written: Sequence[str]
    removed: Sequence[str]


def refresh(folder: Path, found: Mapping[str, str], *, is_check: bool) -> Refreshed:
    """Bring the pages below `folder` to what they should say; what people wrote there is left alone.

    Raises:
        Conflict: if `is_check` and a page is stale, missing or left over; then nothing is written.
    """
    stale = [name for name, text in found.items() if not _says(folder / name, text)]
    left_over = [name for name in _written(folder) if name not in found]
    if is_check and (stale or left_over):
        named = ", ".join([*stale, *left_over])
        raise Conflict(f"{named} in docs/reference: not what the code says. Run `mlops docs`.")
    for name in stale:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(found[name], encoding="utf-8")
    for name in left_over:
        (folder / name).unlink()
    return Refreshed(written=stale, removed=left_over)


def settings_page() -> str:
    """Describe every environment variable."""
    found = Settings.model_fields.items()
    rows = [(f"`{PREFIX}{name.upper()}`", _default(name), one.description or "") for name, one in found]
    head = "# Settings\n\nEvery setting is an environment variable. Lists are separated by commas.\n\n"
    current = f"`{PREFIX}ENVIRONMENT=current` makes `python3 -m mlops_assets` use the running interpreter as it is."
    return head + table(("variable", "default", "what it is"), rows) + f"\n{current}\n"


def declarations_page() -> str:
    """Describe the fields of every kind of declaration, as they are read."""
    from mlops_assets.evaluation.spec import Scenario, Strategy
    from mlops_assets.features import spec as features
    from mlops_assets.kernel.columns import Column
    from mlops_assets.lifecycle import spec as lifecycle
    from mlops_assets.lifecycle.learner import LEARNERS
    from mlops_assets.prompts import policy
    from mlops_assets.prompts import spec as prompts

    # The private ones are the classes that read the files; their fields are what a file may say.
    python_files = {
        "Feature view: `feature_views/<name>.py`, bound to `VIEW`": features.FeatureView,
        "Column of a feature view": Column,
        "Strategy: `strategies/<name>.py`, bound to `STRATEGY`": Strategy,
    }
    data_files = {
        "Model: `models/<name>.yaml`": lifecycle._Content,
        **{f"Model of `kind: {kind}`: its block `learner`": block for kind, block in LEARNERS.items()},
        "Training set: `training_set` of a model": features._DatedContent,
        "Folds that move on with the history: `training_set.folds`": features.RollingFolds,
        "Scenario: `scenarios/<name>.yaml`": Scenario,
        "Prompt: the front matter of `prompts/<id>/<version>.md`": prompts._FrontMatter,
        "Policy: `policies/<id>.yaml`": policy._Content,
    }
    parts = ["# Declarations\n\nFiles of `mlops_assets/catalog/`. A field without a default must be given.\n"]
    parts += [_python_declaration(title, kind) for title, kind in python_files.items()]
    parts += [_data_declaration(title, kind) for title, kind in data_files.items()]
    return "\n".join(parts)


def assets_page() -> str:
    """Describe the graph of the bundled catalogue, inputs first."""
    import dagster as dg

    from mlops_assets.graph import build_defs

    definitions = build_defs(_services())
    graph = definitions.resolve_asset_graph()
    checks: dict[dg.AssetKey, list[dg.AssetCheckSpec]] = {}
    for key in sorted(graph.asset_check_keys, key=str):
        checks.setdefault(key.asset_key, []).append(graph.get_check_spec(key))
    parts = ["# Assets\n\nThe graph of the bundled catalogue, inputs first.\n"]
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    parts += [_asset(specs[key], checks.get(key, [])) for key in graph.toposorted_asset_keys]
    running = sorted([*(definitions.schedules or ()), *(definitions.sensors or ())], key=lambda one: one.name)
    rows = [(f"`{one.name}`", one.description or "") for one in running]
    return "\n".join([*parts, "## Schedules and sensors\n", table(("name", "what it does"), rows)])


def cli_page() -> str:
    """Describe every command."""
    from mlops_assets.cli.app import app

    where = "`mlops` is in `.venv/bin` of the clone; `python3 -m mlops_assets` takes the same commands."
    return "\n".join([f"# Command line\n\n{where}\n", *_commands("mlops", typer.main.get_command(app))])


def rest_page() -> str:
    """Describe every route."""
    from mlops_assets.rest.app import PREFIXES, create_app

    document = create_app(_services()).openapi()
    signed = "Every route but `/health` and the login needs a token: see [the guide](../guide/rest.md)."
    parts = [f"# REST API\n\n{signed} Version {document['info']['version']}.\n"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"## {method.upper()} `{path}`\n\n{plain(route.get('description', route['summary']))}\n")
            asked = route.get("parameters", ())
            rows = [(f"`{one['name']}`", one["in"], _type(one["schema"])) for one in asked]
            parts += [table(("parameter", "in", "type"), rows)] if rows else []
    aliases = [(f"`{first}`", ", ".join(f"`{one}`" for one in rest)) for first, *rest in PREFIXES.values()]
    return "\n".join([*parts, "## Aliases\n", table(("prefix", "also answers below"), aliases)])


def access_page() -> str:
    """Print the policy table: one row an action, one column a role."""
    from mlops_assets.kernel.identity import Role

    actions = _services().access.actions
    rows = [
        (f"`{action}`", plain(rule.description), *("yes" if role in rule.roles else "" for role in Role))
        for action, rule in actions.items()
    ]
    head = (
        "# Who may do what\n\nThe policy table of `mlops_assets/catalog/access.yaml`. What is not listed is allowed to "
        "nobody. The scopes of a token narrow it further. Giving somebody a role: "
        "[add a person](../runbooks/add-a-person.md).\n\n"
    )
    return head + table(("action", "what it means", *Role), rows)


def approvals_page() -> str:
    """Draw the state machine of approvals, and print what each tier needs."""
    from mlops_assets.governance.transitions import state_diagram

    rules = _services().approval_rules
    rows = [
        (
            str(rule.tier),
            str(rule.quorum),
            rule.required_role or "",
            f"{rule.decide_within_hours} hours",
            f"{rule.expires_after_days} days",
            f"{rule.valid_days} days",
        )
        for rule in rules.tiers.values()
    ]
    heads = ("tier", "people", "one of them", "to be decided within", "expires undecided after", "approval holds for")
    drawn = f"```mermaid\n{state_diagram()}\n```\n"
    words = (
        "# Approvals\n\nOne state machine for deployments, sign-offs of reports and prompts, drawn from the table that "
        "the code and the database go by. How to decide: [the runbook](../runbooks/approve-a-deployment.md).\n\n"
        f"{drawn}"
        "\n## What each tier needs\n\nThe rules of `mlops_assets/catalog/approval_rules.yaml`.\n\n"
    )
    rollback = rules.rollback_review
    review = (
        "\n## After a rollback\n\nA rollback takes one person and no approval. It opens a review: "
        f"{rollback.quorum} who had no hand in it says within {rollback.decide_within_hours} hours whether it was "
        "right.\n"
    )
    emergency = (
        "\n## In an emergency\n\nTwo people who did not author, launch or submit may "
        "[override](../runbooks/emergency-override.md); it holds for "
        f"{rules.emergency.valid_hours} hours and counts as a violation.\n"
    )
    return words + table(heads, rows) + review + emergency


PAGES: Mapping[str, Callable[[], str]] = {
    "approvals.md": approvals_page,
    "access.md": access_page,
    "settings.md": settings_page,
    "declarations.md": declarations_page,
    "experiment-templates.md": experiment_docs.page,
    "assets.md": assets_page,
    "cli.md": cli_page,
    "rest.md": rest_page,
}


def pages() -> Mapping[str, Callable[[], str]]:
    """Return every page by its name in docs/reference."""
    from mlops_assets.cli import feature_docs

    services = _services()
    return {**PAGES, **feature_docs.pages(services.catalogue, services.feature_releases)}


def _written(folder: Path) -> list[str]:
    """Name the pages that `mlops docs` wrote at some time, by the line they begin with."""
    found = sorted(folder.rglob("*.md"))
    return [page.relative_to(folder).as_posix() for page in found if page.read_text("utf-8").startswith(_HEAD)]


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _services() -> ServiceFactory:
    from mlops_assets.services import ServiceFactory

    return ServiceFactory(load_settings(home=_HOME, catalog_path=PACKAGE / "catalog", source="sample"))


def _default(name: str) -> str:
    if name in _DEFAULTS_IN_WORDS:
        return _DEFAULTS_IN_WORDS[name]
    value = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={"home": _HOME})
    listed = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return "" if listed in (None, "") else f"`{listed}`"


def _python_declaration(title: str, kind: type[Any]) -> str:
    rows = [(f"`{one.name}`", f"`{one.type}`", _default_of(one)) for one in fields(kind)]
    return f"## {title}\n\n{_words(kind)}\n\n" + table(("field", "type", "default"), rows)


def _default_of(one: Field[Any]) -> str:
    if one.default is MISSING:
        return ""
    return "the file of `signal`" if one.name == "declared_in" else f"`{one.default!r}`".replace("datetime.", "")


def _data_declaration(title: str, kind: type[Any]) -> str:
    from pydantic import TypeAdapter

    schema = TypeAdapter(kind).json_schema()
    words = f"{_words(kind)}\n"
    parts = [f"## {title}\n", *([words] if words.strip() else []), _schema_table(schema)]
    for name, nested in sorted(schema.get("$defs", {}).items()):
        if "properties" in nested:
            parts.append(f"### {name}\n\n{plain(nested.get('description', ''))}\n\n{_schema_table(nested)}")
    return "\n".join(parts)


def _schema_table(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{name}`", _type(one), "" if name in required else f"`{one.get('default')}`")
        for name, one in schema["properties"].items()
        if name != "declared_in"
    ]
    return table(("field", "type", "default"), rows)


def _type(node: Mapping[str, Any]) -> str:
    """Say in a few words what a JSON schema allows."""
    if "$ref" in node:
        return str(node["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(one) for one in node["anyOf"]))
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(f"`{one}`" for one in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {node[name]:g}" for name, sign in limits.items() if name in node]
    return ", ".join([str(node.get("format", node.get("type", "anything"))), *said])


def _asset(spec: AssetSpec, checks: Sequence[AssetCheckSpec]) -> str:
    inputs = sorted("`" + "/".join(one.asset_key.path) + "`" for one in spec.deps)
    condition = spec.automation_condition
    facts = {
        "group": f"`{spec.group_name}`",
        "owner": ", ".join(spec.owners),
        "kinds": ", ".join(sorted(spec.kinds)),
        "inputs": ", ".join(inputs) or "none in the graph",
        "partitions": "by version" if spec.partitions_def else "none",
        "refreshes": "by schedule" if condition is None else f"`{condition.get_label()}`",
    }
    said = "".join(f"- {name}: {value}\n" for name, value in facts.items())
    rows = [(f"`{one.name}`", "yes" if one.blocking else "no", plain(one.description or "")) for one in checks]
    schema = spec.metadata.get("dagster/column_schema")
    columns = [] if schema is None else getattr(schema, "schema", schema).columns
    named = [(f"`{one.name}`", one.type, plain(one.description or "")) for one in columns]
    tables = [(("check", "blocks", "what it claims"), rows), (("column", "type", "what it is"), named)]
    words = [f"## `{'/'.join(spec.key.path)}`\n\n{plain(spec.description or '')}\n", said]
    return "\n".join(words + [table(heads, found) for heads, found in tables if found])


def _commands(name: str, command: click.Command) -> Iterable[str]:
    shown = [one for one in command.params if one.name != "help"]
    names = [", ".join([*one.opts, *one.secondary_opts]) for one in shown]
    helps = [plain(getattr(one, "help", None) or "") for one in shown]
    rows = [(f"`{name}`", one.type.name, words) for name, one, words in zip(names, shown, helps, strict=True)]
    yield f"## `{name}`\n\n{plain(command.help or '')}\n"
    yield from [table(("argument", "type", "what it is"), rows)] if rows else []
    for each, nested in sorted(command.commands.items() if isinstance(command, click.Group) else ()):
        yield from _commands(f"{name} {each}", nested)


def _words(kind: type[Any]) -> str:
    words = inspect.cleandoc(kind.__doc__ or "")
    return "" if words.startswith(f"{kind.__name__}(") else words  # a dataclass without words gets its signature
