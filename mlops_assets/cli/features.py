"""`mlops features`: the catalogue of feature views as people ask for it, and moving a view through its life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli import feature_versions
from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows, show_tree
from mlops_assets.kernel.errors import Conflict, NotFound, UnknownReference
from mlops_assets.settings import load_settings

if TYPE_CHECKING:
    from mlops_assets.catalog.catalogue import Catalogue
    from mlops_assets.catalog.feature_facts import Found, PublishedFacts
    from mlops_assets.catalog.feature_users import User
    from mlops_assets.catalog.lineage import Branch
    from mlops_assets.features.spec import Feature, FeatureView
    from mlops_assets.features.view_status import ViewState
    from mlops_assets.services import ServiceFactory

commands = typer.Typer(
    help="Feature views: find them, see who uses them, release and activate them.", no_args_is_help=True
)

for _command in (
    feature_versions.check,
    feature_versions.release,
    feature_versions.diff,
    feature_versions.retire,
    feature_versions.rollback,
):
    commands.command(_command.__name__)(_command)

ViewName = Annotated[str, typer.Argument(help="The view's name.")]
ViewOrColumn = Annotated[str, typer.Argument(help="A view or a column, like momentum or momentum.rsi_14.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the ledger.")]

_ONLY_JSON = ("description", "active_version", "tags", "columns", "snapshot", "rows", "unavailable", "freshness")


@commands.command("list")
def list_features(
    owner: Annotated[str | None, typer.Option(help="Only views of this owner.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only views with this tag.")] = None,
    status: Annotated[str | None, typer.Option(help="draft, active, deprecated or archived.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the feature views: where each stands, what is published of it, and what to mind before relying on it."""
    from mlops_assets.catalog.feature_facts import chosen, published_facts, state_of
    from mlops_assets.market_data.bars import BARS

    services = services_of()
    states = services.feature_registry.states()
    heads = {head.dataset: head for head in services.snapshots.heads()}
    views = chosen(
        services.catalogue.feature_views, states, owner=owner, tag=tag, status=status, asked_by="mlops features list"
    )
    rows: list[dict[str, object]] = []
    for view in views:
        state, facts = state_of(view, states), published_facts(heads.get(view.dataset), heads.get(BARS))
        rows.append(
            {
                "name": view.name,
                "status": state.status.value,
                "version": view.version,
                "active_version": state.active_version,
                "owner": view.owner,
                "tags": list(view.tags),
                "columns": len(view.columns),
                "snapshot": facts.snapshot,
                "last_session": None if facts.last_session is None else facts.last_session.isoformat(),
                "rows": facts.rows,
                "unavailable": list(facts.unavailable),
                "freshness": facts.freshness,
                "description": view.description,
                "to_mind": _to_mind(services, view, state, facts),
            }
        )
    show_rows(
        "Feature views",
        rows,
        as_json=as_json,
        empty="none is like that",
        only_json=(*_ONLY_JSON, "to_mind"),
    )
    worries = [{"name": row["name"], "to_mind": row["to_mind"]} for row in rows if row["to_mind"]]
    if worries and not as_json:
        show_rows("To mind", worries, as_json=False)


@commands.command()
def show(name: ViewOrColumn, as_json: AsJson = False) -> None:
    """Show a view or a column: what it is, its numbers, where it comes from, who uses it, what happened to it."""
    from mlops_assets.catalog.feature_facts import declared_name, find, published_facts
    from mlops_assets.market_data.bars import BARS

    services = services_of()
    found = find(name, services.catalogue.feature_views, asked_by="mlops features show")
    head = services.snapshots.find_head(found.view.dataset)
    facts = published_facts(head, services.snapshots.find_head(BARS))
    whole = _view_record(services, found.view, facts)
    of_view = {name: whole[name] for name in ("status", "to_mind")}
    record = whole if found.column is None else {**_column_record(found, facts), **of_view}
    shown = [found.column] if found.column is not None else list(found.view.columns)
    columns = [_column_row(column, facts) for column in shown]
    statistics = [{"column": one.name, **facts.statistics[one.name]} for one in shown if one.name in facts.statistics]
    users = [_user_row(user) for user in _users(services, found)]
    history = [asdict(one) for one in services.feature_registry.history(declared_name(found.view))]
    up, down = _lineage(services.catalogue, found)
    if as_json:
        more = {"columns": columns, "statistics": statistics, "lineage": {"upstream": up, "downstream": down}}
        print_json({**record, **more, "users": users, "history": history})
        return
    show_record(f"Feature {'view' if found.column is None else 'column'} {found.name}", record, as_json=False)
    if found.column is None:
        show_rows("Columns", columns, as_json=False, only_json=("inputs", "is_nullable"))
    show_rows("Statistics", [_moments(one) for one in statistics], as_json=False, empty="kept with each snapshot")
    show_tree("Comes from", up.branches, empty="the bars alone")
    show_tree("Leads to", down.branches, empty="nothing reads it")
    show_rows("Used by", users, as_json=False, empty="no model")
    if found.column is None:
        show_rows("History (UTC)", history, as_json=False, empty="nothing happened yet")


@commands.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words in English or Korean, like rsi or 변동성.")],
    as_json: AsJson = False,
) -> None:
    """Find views and columns by words of their names, descriptions, tags, owners, formulas and units."""
    from mlops_assets.catalog.feature_search import search as find_words

    asked = " ".join(words)
    found = find_words(asked, _catalogue().feature_views.values())
    if not found.hits:
        hint = f"Did you mean {' or '.join(found.near)}?" if found.near else "`mlops features list` shows the views."
        raise NotFound(kind="view or column", name=asked, remedy=hint)
    rows: list[dict[str, object]] = [
        {
            "name": hit.name,
            "unit": hit.unit,
            "description": hit.description,
            "owner": hit.owner,
            "found_in": list(hit.found_in),
            "score": hit.score,
        }
        for hit in found.hits
    ]
    show_rows(f"About {asked}", rows, as_json=as_json, only_json=("score",))


@commands.command()
def lineage(name: ViewOrColumn, as_json: AsJson = False) -> None:
    """Show what a view or a column comes from and what it leads to, column by column."""
    from mlops_assets.catalog.feature_facts import find

    catalogue = _catalogue()
    found = find(name, catalogue.feature_views, asked_by="mlops features lineage")
    up, down = _lineage(catalogue, found)
    if as_json:
        print_json({"name": found.name, "upstream": up, "downstream": down})
        return
    show_tree(f"{found.name} comes from", up.branches, empty="the bars alone")
    show_tree(f"{found.name} leads to", down.branches, empty="nothing reads it")


@commands.command()
def activate(view: ViewName, reason: Reason = "", as_json: AsJson = False) -> None:
    """Make the declared version the active one.

    It must be released, and the published snapshot must hold every blocking validation. A deprecated view is
    reinstated; activating what is active already changes nothing.
    """
    from mlops_assets.features.evidence import gather

    services = services_of()
    by = services.acting("feature.activate")
    declared = _declared(services, view, "mlops features activate")
    evidence = gather(
        declared, snapshots=services.snapshots, registry=services.feature_registry, releases=services.feature_releases
    )
    after = services.feature_registry.activate(evidence, actor=by.name, reason=reason)
    _show_state(after, as_json=as_json)


@commands.command()
def deprecate(
    view: ViewName,
    reason: Reason,
    successor: Annotated[str | None, typer.Option(help="The view to use instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask everybody to move on from a view; it is served as before."""
    services = services_of()
    by = services.acting("feature.deprecate")
    declared = _declared(services, view, "mlops features deprecate")
    if successor is not None:
        _declared(services, successor, "mlops features deprecate")
    after = services.feature_registry.deprecate(declared.name, reason=reason, successor=successor, actor=by.name)
    _show_state(after, as_json=as_json)


@commands.command()
def archive(view: ViewName, reason: Reason = "", as_json: AsJson = False) -> None:
    """Put a deprecated view away for good; refused while anything reads it.

    No training set and no active view may read it from then on. It is computed as long as its file is in the catalogue.
    """
    from mlops_assets.catalog.feature_users import readers_of
    from mlops_assets.features.view_status import ViewStatus

    services = services_of()
    by = services.acting("feature.deprecate")
    declared = _declared(services, view, "mlops features archive")
    registry = services.feature_registry

    def readers() -> list[str]:
        states = registry.states().values()
        return readers_of(
            declared.name,
            services.catalogue,
            archived={state.view for state in states if state.status is ViewStatus.ARCHIVED},
            versions=services.models.list(),
            deployments=services.deployments.list(),
            snapshots=services.snapshots,
        )

    after = registry.archive(declared.name, readers=readers, actor=by.name, reason=reason)
    _show_state(after, as_json=as_json)


def _declared(services: ServiceFactory, name: str, asked_by: str) -> FeatureView:
    """Return the view whose life is to change; an older major version has none of its own."""
    from mlops_assets.catalog.feature_facts import declared_name

    views = services.catalogue.feature_views
    if name not in views:
        raise UnknownReference(kind="feature view", name=name, known=views, asked_by=asked_by)
    view = views[name]
    if (base := declared_name(view)) != name:
        raise Conflict(
            f"{name} is an older major version of {base} and shares its status. "
            f"`mlops features retire {base} {view.major}` stops serving it."
        )
    return view


def _show_state(state: ViewState, *, as_json: bool) -> None:
    show_record(f"Feature view {state.view}", state.as_json(), as_json=as_json)


def _catalogue() -> Catalogue:
    """Return what is declared; reading it needs no installation."""
    from mlops_assets.catalog.loader import load_catalogue

    return load_catalogue(load_settings().catalog_path)


def _lineage(catalogue: Catalogue, found: Found) -> tuple[Branch, Branch]:
    from mlops_assets.catalog.lineage import Lineage

    whole = Lineage.of(catalogue)
    return whole.upstream(found.view.dataset, found.columns), whole.downstream(found.view.dataset, found.columns)


def _users(services: ServiceFactory, found: Found) -> Sequence[User]:
    from mlops_assets.catalog.feature_users import users_of

    users = users_of(
        found.view.name,
        services.catalogue,
        versions=services.models.list(),
        deployments=services.deployments.list(),
        snapshots=services.snapshots,
    )
    return [user for user in users if found.column is None or found.column.name in user.columns]


def _user_row(user: User) -> dict[str, object]:
    return {
        "model": user.model,
        "version": user.version,
        "training_set": user.training_set,
        "columns": list(user.columns),
        "importance": {name: round(share, 4) for name, share in user.importance.items()},
        "deployments": list(user.deployments),
    }


def _to_mind(services: ServiceFactory, view: FeatureView, state: ViewState, facts: PublishedFacts) -> list[str]:
    """Return what the users of a view should know before they rely on it."""
    from mlops_assets.catalog.feature_facts import to_mind
    from mlops_assets.features.versions.serving import problem_of_release

    registry = services.feature_registry
    readers = services.catalogue.readers(view.name).values()
    return to_mind(
        view,
        state,
        facts,
        certificate=None if facts.fingerprint is None else registry.certificate_of(view.name, facts.fingerprint),
        readers=sorted({reader for who in readers for reader in who}),
        problem_of_release=problem_of_release(view, registry=registry, releases=services.feature_releases),
    )


def _view_record(services: ServiceFactory, view: FeatureView, facts: PublishedFacts) -> dict[str, object]:
    from mlops_assets.catalog.feature_facts import declared_name, state_of

    state = state_of(view, services.feature_registry.states())
    certificate = (
        None if facts.fingerprint is None else services.feature_registry.certificate_of(view.name, facts.fingerprint)
    )
    return {
        "name": view.name,
        "version": view.version,
        "status": state.status.value,
        "active_version": state.active_version,
        "to_mind": _to_mind(services, view, state, facts),
        "successor": state.successor,
        "released_versions": services.feature_releases.versions(declared_name(view)),
        "owner": view.owner,
        "tags": list(view.tags),
        "description": view.description,
        "declared_in": str(view.declared_in),
        "fingerprint": view.fingerprint,
        "computed_over": view.partition.value,
        "inputs": list(view.bar_inputs),
        "reads_views": list(view.upstream_views),
        "warm_up_bars": view.warm_up_bars,
        "ttl_days": view.ttl.total_seconds() / 86_400,
        "publication_lag_minutes": services.market.publication_lag.total_seconds() / 60,
        "snapshot": facts.snapshot,
        "snapshot_fingerprint": facts.fingerprint,
        "snapshot_view_version": facts.view_version,
        "rows": facts.rows,
        "last_session": None if facts.last_session is None else facts.last_session.isoformat(),
        "freshness": facts.freshness,
        "unavailable": {name: list(lacking) for name, lacking in facts.unavailable.items()},
        "look_ahead": "no certificate" if certificate is None else "clean" if certificate.is_clean else "peeks",
    }


def _column_record(found: Found, facts: PublishedFacts) -> dict[str, object]:
    column, view = found.column, found.view
    assert column is not None
    return {
        "name": found.name,
        "view": view.name,
        "version": view.version,
        "owner": view.owner,
        "tags": list(view.tags),
        **_column_row(column, facts),
        "ttl_days": view.ttl.total_seconds() / 86_400,
        "warm_up_bars": view.warm_up_bars,
        "freshness": facts.freshness,
    }


def _column_row(column: Feature, facts: PublishedFacts) -> dict[str, object]:
    from mlops_assets.catalog.feature_facts import range_of

    lacking = facts.unavailable.get(column.name)
    return {
        "column": column.name,
        "type": column.type,
        "unit": column.unit,
        "range": range_of(column),
        "formula": column.formula,
        "description": column.description,
        "inputs": list(column.inputs),
        "is_nullable": column.is_nullable,
        "unavailable": "" if lacking is None else f"no {', '.join(lacking)}",
    }


_SHOWN = ("column", "count", "nulls", "mean", "std", "min", "p05", "p50", "p95", "max")


def _moments(figures: dict[str, object]) -> dict[str, object]:
    """Return the figures that fit a table; the rest is in --json."""
    return {name: figures.get(name) for name in _SHOWN}
