"""`mlops features check|release|diff|retire|rollback`: which version a view's change demands, and which ones there are.

Checking, releasing and comparing need no installation: they work on the files of the catalogue, whose author Git
knows. Retiring and the rollback say who did it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows
from mlops_assets.kernel.errors import Conflict, UnknownReference
from mlops_assets.settings import load_settings

if TYPE_CHECKING:
    from mlops_assets.catalog.catalogue import Catalogue
    from mlops_assets.features.spec import FeatureView
    from mlops_assets.features.versions.releases import ReleaseFolder
    from mlops_assets.features.versions.schema_diff import Difference
    from mlops_assets.features.versions.version_check import Readers, Verdict
    from mlops_assets.kernel.identity import Principal
    from mlops_assets.services import ServiceFactory

ViewName = Annotated[str, typer.Argument(help="The view's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]


def check(
    view: Annotated[str | None, typer.Argument(help="The view's name; every view if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the declared views with what is released, and refuse a version that is too low."""
    from mlops_assets.catalog.feature_facts import declared_name
    from mlops_assets.features.versions.version_check import check_view, orphans

    catalogue, releases = _catalogue()
    if view is not None:
        _declared(catalogue, view, "mlops features check")
    chosen = [one for name, one in catalogue.feature_views.items() if view in (None, name, declared_name(one))]
    verdicts = [check_view(one, catalogue.feature_views, releases, catalogue.readers(one.name)) for one in chosen]
    gone = orphans(catalogue.feature_views, releases) if view is None else []
    refused = [verdict for verdict in verdicts if verdict.is_refused]
    show_rows(
        "Versions of feature views",
        [_row(verdict) for verdict in verdicts],
        as_json=as_json,
        empty="no view is declared",
        only_json=("file", "message", "differences", "readers"),
    )
    for verdict in verdicts:
        if not (as_json or verdict.is_refused or verdict.is_settled):
            typer.echo(f"{verdict.view}: {verdict.message}")
    if not as_json and gone:
        typer.echo(f"Released, but not declared any more: {', '.join(gone)}. Restore the file, or leave it at that.")
    for verdict in refused:
        typer.echo(f"refused: {verdict.message}", err=True)
    if refused:
        raise typer.Exit(1)


def release(
    view: Annotated[str | None, typer.Argument(help="The view's name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Release every view whose version is not released yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record the declared version of a view as released. A release never changes."""
    from mlops_assets.catalog.feature_facts import declared_name
    from mlops_assets.features.versions.version_check import in_order_of_reading, release_view

    if every == (view is not None):
        raise typer.BadParameter("Give the name of a view, or --all.")
    catalogue, releases = _catalogue()
    if view is not None:
        chosen = [_declared(catalogue, view, "mlops features release")]
    else:
        declared = in_order_of_reading(catalogue.feature_views)
        chosen = [one for one in declared if one.version not in releases.versions(declared_name(one))]
    rows: list[dict[str, object]] = []
    for one in chosen:
        released = release_view(one, catalogue.feature_views, releases, catalogue.readers(one.name))
        rows.append(
            {
                "view": released.view,
                "version": released.version,
                "fingerprint": released.fingerprint,
                "previous": released.previous,
                "folder": str(released.folder),
            }
        )
    show_rows("Released", rows, as_json=as_json, empty="every declared version is released", only_json=("folder",))


def diff(
    view: ViewName,
    from_version: Annotated[str | None, typer.Option("--from", help="A released version; else the latest.")] = None,
    to_version: Annotated[str | None, typer.Option("--to", help="A released version; else the declaration.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how two versions of a view differ, and which bump each difference demands."""
    from mlops_assets.features.versions.schema_diff import demanded_bump, demanded_version
    from mlops_assets.features.versions.version_check import compare, compare_releases

    catalogue, releases = _catalogue()
    declared = _declared(catalogue, view, "mlops features diff")
    before = releases.latest(view) if from_version is None else releases.get(view, from_version)
    if before is None:
        raise Conflict(f"{view} has no release to compare with. `mlops features release {view}` makes the first.")
    if to_version is None:
        after, found = declared.version, compare(before, declared, catalogue.feature_views, releases)
    else:
        after, found = to_version, compare_releases(before, releases.get(view, to_version))
    rows = [_difference_row(one, catalogue.readers(view)) for one in found]
    if as_json:
        demanded = demanded_version(before.version, demanded_bump(found))
        print_json({"from": before.version, "to": after, "demanded": demanded, "differences": rows})
        return
    show_rows(f"{view} {before.version} → {after}", rows, as_json=False, empty="nothing differs")


def retire(
    view: ViewName,
    major: Annotated[int, typer.Argument(help="The major version.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Stop serving an older major version of a view that nothing reads."""
    services = services_of()
    by = services.acting("feature.release")
    try:
        catalogue, releases = _catalogue(retiring=(view, major))
    except UnknownReference as error:
        message = f"{view} {major}.x can't be retired while something reads it. Nothing was changed. {error}"
        raise Conflict(message) from error
    declared = _declared(catalogue, view, "mlops features retire")
    if major == declared.major:
        raise Conflict(f"{view} {major}.x is the declared major version. Only an older one can be retired.")
    retirement = releases.retire(view, major, reason=reason, at=services.clock.now(), by=by.name)
    record = {name: getattr(retirement, name) for name in retirement.__dataclass_fields__}
    show_record(f"Retired {view} {major}.x", record, as_json=as_json)


def rollback(
    view: ViewName,
    version: Annotated[str, typer.Argument(help="The released version to serve again.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Serve a released version of a view again, and compute it at once."""
    from mlops_assets.features.versions.rollback import rollback as roll_back

    services = services_of()
    by = services.acting("feature.rollback")
    services.access.require(by, "run.launch")  # before anything moves
    catalogue = services.catalogue
    declared = _declared(catalogue, view, "mlops features rollback")
    serving = roll_back(
        declared,
        version,
        releases=services.feature_releases,
        active=services.feature_registry,
        readers=catalogue.readers(view),
        views=catalogue.feature_views,
        actor=by.name,
        reason=reason,
    )
    record: dict[str, object] = {
        "view": view,
        "active_version": serving.version,
        "computed_by": str(serving.declared_in),
    }
    if services.snapshots.find_head(declared.dataset) is not None:
        record |= _recomputed(services, declared, version, by)
    show_record(f"{view} goes back to {version}", record, as_json=as_json)


def _recomputed(services: ServiceFactory, view: FeatureView, version: str, by: Principal) -> dict[str, object]:
    """Materialise a view whose active version moved, and say what was published."""
    from mlops_assets.graph import build_defs
    from mlops_assets.launch.instance import open_instance
    from mlops_assets.orchestration.declared import key
    from mlops_assets.orchestration.refresh import materialise

    with open_instance(services.settings) as instance:
        made = materialise(
            build_defs(services),
            instance,
            [key(view.dataset)],
            lambda progress: None,
            tags_of=lambda run_id: services.run_identity.tags(by, run_id),
        )
    if made.failures:
        reasons = "; ".join(made.failures.values())
        raise Conflict(
            f"{view.name} goes back to {version}, but computing it failed, and readers still get what they got: "
            f"{reasons}. `mlops up` tries again."
        )
    history = services.snapshots.history(view.dataset)
    published = history[-1]
    return {
        "snapshot": published.id,
        "snapshot_fingerprint": published.fingerprint,
        "same_bytes_as": [one.id for one in history[:-1] if one.fingerprint == published.fingerprint],
        "next": "What reads it follows by itself while the platform is up, or at the next `mlops up`.",
    }


def _catalogue(retiring: tuple[str, int] | None = None) -> tuple[Catalogue, ReleaseFolder]:
    from mlops_assets.catalog.loader import RELEASED, load_catalogue
    from mlops_assets.features.versions.releases import ReleaseFolder

    folder = load_settings().catalog_path
    return load_catalogue(folder, retiring=retiring), ReleaseFolder(folder / "feature_views" / RELEASED)


def _declared(catalogue: Catalogue, name: str, asked_by: str) -> FeatureView:
    """Return a declared view; an older major version is not declared."""
    from mlops_assets.catalog.feature_facts import declared_name

    known = {view.name: view for view in catalogue.feature_views.values() if declared_name(view) == view.name}
    if name not in known:
        raise UnknownReference(kind="feature view", name=name, known=known, asked_by=asked_by)
    return known[name]


def _row(verdict: Verdict) -> dict[str, object]:
    return {
        "view": verdict.view,
        "file": str(verdict.file),
        "declared": verdict.declared,
        "released": verdict.released,
        "demanded": verdict.demanded,
        "standing": verdict.standing.value,
        "message": verdict.message,
        "differences": [_difference_row(one, verdict.readers) for one in verdict.differences],
        "readers": verdict.readers,
    }


def _difference_row(difference: Difference, readers: Readers) -> dict[str, object]:
    return {
        "demands": difference.bump.name.lower(),
        "column": difference.column,
        "what": difference.what,
        "read_by": list(readers.get(difference.column, ())),
    }
