"""What people ask of a view or a column: whose it is, where it stands, what is published of it and what to mind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isclose
from typing import cast

from mlops_assets.features.activation import RecordedCertificate, schema_differences
from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.features.versions.releases import is_older_major
from mlops_assets.features.versions.schema_diff import pinned
from mlops_assets.features.view_status import ViewState, ViewStatus
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.market_data.bars import BARS
from mlops_assets.storage.parquet.snapshots import Snapshot

NOT_PUBLISHED, CURRENT, BEHIND = "not published", "current", "behind the bars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A view, or one column of it."""

    view: FeatureView
    column: Feature | None = None

    @property
    def name(self) -> str:
        return self.view.name if self.column is None else f"{self.view.name}.{self.column.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column, or none for the whole view."""
        return () if self.column is None else (self.column.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFacts:
    """What is published of a view: its newest snapshot, what could not be computed, and whether the bars moved on."""

    snapshot: int | None = None
    fingerprint: str | None = None
    view_version: str | None = None
    rows: int | None = None
    last_session: date | None = None
    unavailable: Mapping[str, Sequence[str]]
    statistics: Mapping[str, Mapping[str, Json]]
    schema: Mapping[str, str]
    freshness: str


def find(name: str, views: Mapping[str, FeatureView], *, asked_by: str) -> Found:
    """Return the view `name`, or the column `view.column`; a column's own name is enough where one view has it.

    Raises:
        UnknownReference: naming the near misses.
    """
    if name in views:
        return Found(view=views[name])
    if "." not in name:
        having = [view for view in views.values() if name in view.column_names]
        if len(having) == 1:
            return Found(view=having[0], column=_column(having[0], name))
        known = {*views, *(one for view in views.values() for one in view.column_names)}
        if having:
            several = " or ".join(f"{view.name}.{name}" for view in having)
            raise UnknownReference(kind="view", name=name, known=[several], asked_by=asked_by)
        raise UnknownReference(kind="view or column", name=name, known=known, asked_by=asked_by)
    view, _, column = name.partition(".")
    if view not in views:
        raise UnknownReference(kind="feature view", name=view, known=views, asked_by=asked_by)
    if column not in views[view].column_names:
        known = views[view].column_names
        raise UnknownReference(kind=f"column of {view}", name=column, known=known, asked_by=asked_by)
    return Found(view=views[view], column=_column(views[view], column))


def declared_name(view: FeatureView) -> str:
    """Return the name whose status a view has: an older major version lives and ends with the declared one."""
    return pinned(view.name)[0] if is_older_major(view) else view.name


def state_of(view: FeatureView, states: Mapping[str, ViewState]) -> ViewState:
    """Return where a view stands; a draft if nobody touched it."""
    name = declared_name(view)
    return states.get(name, ViewState(view=name))


def published_facts(head: Snapshot | None, bars: Snapshot | None) -> PublishedFacts:
    """Read what a view's head says of itself, beside the head of the bars."""
    if head is None:
        return PublishedFacts(unavailable={}, statistics={}, schema={}, freshness=NOT_PUBLISHED)
    is_current = bars is None or head.inputs.get(BARS) == bars.fingerprint
    reached = [file.last_at for file in head.files if file.last_at is not None]
    version = head.details.get("view_version")
    unavailable = cast("Mapping[str, Sequence[str]]", head.details.get("unavailable") or {})
    statistics = cast("Mapping[str, Mapping[str, Json]]", head.details.get("statistics") or {})
    return PublishedFacts(
        snapshot=head.version,
        fingerprint=head.fingerprint,
        view_version=version if isinstance(version, str) else None,
        rows=head.row_count,
        last_session=max(reached).date() if reached else None,
        unavailable={name: tuple(lacking) for name, lacking in unavailable.items()},
        statistics=statistics,
        schema=head.schema,
        freshness=CURRENT if is_current else BEHIND,
    )


def to_mind(
    view: FeatureView,
    state: ViewState,
    facts: PublishedFacts,
    *,
    certificate: RecordedCertificate | None,
    readers: Collection[str],
    problem_of_release: str = "",
) -> list[str]:
    """Return in sentences what its users should know of a view before they rely on it, the gravest first.

    Args:
        certificate: of the published snapshot, if there is one.
        readers: who reads the view, by name.
        problem_of_release: why the declared version is not what was released; empty if it is.
    """
    found = [problem_of_release] if problem_of_release else []
    if facts.freshness == NOT_PUBLISHED:
        return [*found, *_of_its_life(state, readers), NOT_PUBLISHED]
    found += _of_its_version(view, state, facts)
    if certificate is None:
        found.append("no look-ahead certificate of what is published")
    elif not certificate.is_clean:
        found.append(f"uses later values: {len(certificate.peeks)} peeks on its look-ahead certificate")
    if facts.view_version == view.version:
        found += schema_differences(view, facts.schema)
        found += _out_of_range(view, facts)
    found += _of_its_life(state, readers)
    if facts.freshness == BEHIND:
        found.append(BEHIND)
    lacking = sorted({name for names in facts.unavailable.values() for name in names})
    if lacking:
        found.append(f"null, for the source has no {', '.join(lacking)}: {', '.join(facts.unavailable)}")
    return found


def _of_its_version(view: FeatureView, state: ViewState, facts: PublishedFacts) -> Iterator[str]:
    """Say when readers get another version than the declared one, or than the one that is active."""
    if facts.view_version != view.version:
        yield f"{facts.view_version or 'no stated version'} is published, {view.version} is declared"
    if state.active_version not in (None, facts.view_version) and not is_older_major(view):
        yield f"{facts.view_version} is published, {state.active_version} is active"


def _of_its_life(state: ViewState, readers: Collection[str]) -> Iterator[str]:
    read = f"read by {', '.join(readers)}" if readers else "read by nothing"
    if state.status is ViewStatus.DEPRECATED:
        yield f"deprecated{f', use {state.successor}' if state.successor else ''}; {read}"
    elif state.status is ViewStatus.ARCHIVED:
        yield f"archived; {read if readers else 'remove its file to stop computing it'}"


def _out_of_range(view: FeatureView, facts: PublishedFacts) -> Iterator[str]:
    """Hold the extremes of the published values against the declared bounds; the figures are rounded."""
    for column in view.columns:
        figures = facts.statistics.get(column.name, {})
        low, high = figures.get("min"), figures.get("max")
        if not (isinstance(low, int | float) and isinstance(high, int | float)):
            continue
        is_low = column.minimum is not None and low < column.minimum and not isclose(low, column.minimum)
        is_high = column.maximum is not None and high > column.maximum and not isclose(high, column.maximum)
        if is_low or is_high:
            yield f"{column.name} goes from {low:g} to {high:g}, declared {range_of(column)}"


def chosen(
    views: Mapping[str, FeatureView],
    states: Mapping[str, ViewState],
    *,
    owner: str | None = None,
    tag: str | None = None,
    status: str | None = None,
    asked_by: str,
) -> list[FeatureView]:
    """Return the views of an owner, with a tag and of a status; None asks for any.

    Raises:
        UnknownReference: naming the near misses, if no view has that owner or tag, or there is no such status.
    """
    owners, tags = {view.owner for view in views.values()}, {tag for view in views.values() for tag in view.tags}
    for field, asked, known in (
        ("--owner", owner, owners),
        ("--tag", tag, tags),
        ("--status", status, {one.value for one in ViewStatus}),
    ):
        if asked is not None and asked not in known:
            raise UnknownReference(kind=field.strip("-"), name=asked, known=known, asked_by=asked_by, field=field)
    return [
        view
        for view in views.values()
        if owner in (None, view.owner)
        and (tag is None or tag in view.tags)
        and status in (None, state_of(view, states).status)
    ]


def range_of(column: Feature) -> str:
    """Return a column's bounds in words: `0 to 100`, `at least -1`, or nothing."""
    match column.minimum, column.maximum:
        case None, None:
            return ""
        case low, None:
            return f"at least {low:g}"
        case None, high:
            return f"at most {high:g}"
        case low, high:
            return f"{low:g} to {high:g}"


def _column(view: FeatureView, name: str) -> Feature:
    return next(column for column in view.columns if column.name == name)
