"""Where a feature view stands in its life, which moves are allowed, and what stops one.

A view nobody touched is a draft. What stops a move is found by the caller and told here all at once; the store,
`registry.py`, keeps the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.fingerprint import Json, fingerprint


class ViewStatus(StrEnum):
    """What people may expect of a view."""

    DRAFT = "draft"
    """Nobody vouches for it yet."""
    ACTIVE = "active"
    """Validated and for use."""
    DEPRECATED = "deprecated"
    """Still served; nothing new should read it."""
    ARCHIVED = "archived"
    """Nothing reads it any more."""


MOVES: Mapping[ViewStatus, frozenset[ViewStatus]] = {
    ViewStatus.DRAFT: frozenset({ViewStatus.ACTIVE}),
    ViewStatus.ACTIVE: frozenset({ViewStatus.DEPRECATED}),
    ViewStatus.DEPRECATED: frozenset({ViewStatus.ACTIVE, ViewStatus.ARCHIVED}),
    ViewStatus.ARCHIVED: frozenset(),
}
"""From each status, where a view may go; a deprecated one may be reinstated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewState:
    """A view's status, the version that readers get, and what replaces it once it is deprecated."""

    view: str
    status: ViewStatus = ViewStatus.DRAFT
    active_version: str | None = None
    successor: str | None = None

    @property
    def subject(self) -> str:
        """Its name in the ledger."""
        return subject_of(self.view)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.as_json())

    def as_json(self) -> dict[str, Json]:
        return {
            "view": self.view,
            "status": self.status,
            "active_version": self.active_version,
            "successor": self.successor,
        }


class MoveNotAllowed(Conflict):
    """A view can't go from its status to the one that was asked for."""

    def __init__(self, state: ViewState, asked: ViewStatus) -> None:
        self.state, self.asked, self.allowed = state, asked, sorted(MOVES[state.status])
        ways = f"from there it can only become {' or '.join(self.allowed)}" if self.allowed else "that is final"
        super().__init__(f"feature view {state.view} is {state.status} and can't become {asked}: {ways}.")


class ActivationBlocked(Conflict):
    """A view's blocking validations do not hold. `reasons` names every one of them."""

    code: ClassVar[str] = "activation_blocked"

    def __init__(self, view: str, version: str, reasons: Sequence[str]) -> None:
        self.view, self.version, self.reasons = view, version, tuple(reasons)
        listed = "; ".join(f"({number}) {reason}" for number, reason in enumerate(reasons, start=1))
        super().__init__(f"feature view {view} {version} can't be activated: {listed}")


class StillRead(Conflict):
    """Something downstream would be left behind. `readers` names all of it."""

    code: ClassVar[str] = "still_read"

    def __init__(self, view: str, readers: Sequence[str]) -> None:
        self.view, self.readers = view, tuple(readers)
        super().__init__(
            f"feature view {view} can't be archived, it is still read by {', '.join(readers)}. "
            "Move these to its successor, or end them, first."
        )


class ReleaseChanged(Conflict):
    """Another content claims a version that is released. A released version never changes."""

    code: ClassVar[str] = "release_changed"

    def __init__(self, *, view: str, version: str, registered: str, found: str) -> None:
        self.view, self.version, self.registered, self.found = view, version, registered, found
        super().__init__(
            f"feature view {view} {version} was released as {registered[:12]}, and this is {found[:12]}: a released "
            "version never changes. Give the changed declaration a higher version; `mlops features check` says which."
        )


class ReleaseGone(Conflict):
    """A version was released and registered, and its record is no longer in the catalogue."""

    code: ClassVar[str] = "release_gone"

    def __init__(self, *, view: str, version: str, registered: str, folder: Path) -> None:
        self.view, self.version, self.registered = view, version, registered
        super().__init__(
            f"feature view {view} {version} is registered here as {registered[:12]}, but its record is gone from "
            f"{folder / view / version}. Restore it from Git: a released version never goes away, and its number is "
            "not given to anything else."
        )


def subject_of(view: str) -> str:
    """Return a view's name in the ledger."""
    return f"feature_views/{view}"


def activate(
    state: ViewState, *, version: str, obstacles: Sequence[str], actor: str, reason: str, evidence: Mapping[str, Json]
) -> tuple[ViewState, Change | None]:
    """Make `version` of a view the active one; no change if it is that already.

    A deprecated view is reinstated; an active one moves on to the version.

    Raises:
        MoveNotAllowed: if the view is archived.
        ActivationBlocked: with every obstacle.
    """
    if state.status is ViewStatus.ACTIVE:
        if state.active_version == version:
            return state, None
    else:
        _require_move(state, ViewStatus.ACTIVE)
    if obstacles:
        raise ActivationBlocked(state.view, version, obstacles)
    after = replace(state, status=ViewStatus.ACTIVE, active_version=version, successor=None)
    return after, _change("activate", state, after, actor=actor, reason=reason, **evidence)


def deprecate(
    state: ViewState, *, reason: str, successor: ViewState | None, actor: str
) -> tuple[ViewState, Change | None]:
    """Ask everybody to move on from a view, to `successor` if there is one; no change if that was said already.

    Raises:
        MoveNotAllowed: if the view is not active.
        Conflict: if no reason is given, or the successor is the view itself or on its way out too.
    """
    if not reason.strip():
        raise Conflict(f"feature view {state.view}: say why it is deprecated; its readers will ask.")
    name = None if successor is None else successor.view
    if name == state.view:
        raise Conflict(f"feature view {state.view} can't be its own successor. Name another view, or none.")
    if successor is not None and successor.status in (ViewStatus.DEPRECATED, ViewStatus.ARCHIVED):
        raise Conflict(
            f"feature view {state.view} can't be succeeded by {name}, which is {successor.status} itself. "
            "Name another view, or none."
        )
    if state.status is ViewStatus.DEPRECATED and state.successor == name:
        return state, None
    if state.status is not ViewStatus.DEPRECATED:
        _require_move(state, ViewStatus.DEPRECATED)
    after = replace(state, status=ViewStatus.DEPRECATED, successor=name)
    return after, _change("deprecate", state, after, actor=actor, reason=reason)


def archive(state: ViewState, *, readers: Sequence[str], actor: str, reason: str) -> tuple[ViewState, Change | None]:
    """Put a view away for good; no change if it is away already.

    Raises:
        MoveNotAllowed: if the view is not deprecated.
        StillRead: naming everything that reads it.
    """
    if state.status is ViewStatus.ARCHIVED:
        return state, None
    _require_move(state, ViewStatus.ARCHIVED)
    if readers:
        raise StillRead(state.view, readers)
    after = replace(state, status=ViewStatus.ARCHIVED)
    return after, _change("archive", state, after, actor=actor, reason=reason)


def point_at(state: ViewState, *, version: str, actor: str, reason: str) -> tuple[ViewState, Change | None]:
    """Make readers get another released version, the status unchanged; no change if they get it already.

    Raises:
        Conflict: if the view is archived, or no reason is given.
    """
    if state.status is ViewStatus.ARCHIVED:
        raise Conflict(f"feature view {state.view} is archived: no version of it can be active.")
    if state.active_version == version:
        return state, None
    if not reason.strip():
        raise Conflict(f"feature view {state.view}: say why its active version becomes {version}.")
    after = replace(state, active_version=version)
    return after, _change("set_active", state, after, actor=actor, reason=reason)


def _require_move(state: ViewState, asked: ViewStatus) -> None:
    if asked not in MOVES[state.status]:
        raise MoveNotAllowed(state, asked)


def _change(verb: str, before: ViewState, after: ViewState, *, actor: str, reason: str, **more: Json) -> Change:
    return Change(
        actor=actor,
        action=f"feature_view.{verb}",
        subject=before.subject,
        before=before.fingerprint,
        after=after.fingerprint,
        reason=reason,
        details={
            "status_before": before.status,
            "status_after": after.status,
            "version_before": before.active_version,
            "version_after": after.active_version,
            "successor": after.successor,
            **more,
        },
    )
