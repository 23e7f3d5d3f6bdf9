"""What is remembered of feature views: status, active version, released versions and look-ahead certificates.

Every change commits together with its ledger entry. Which views exist is said by the catalogue, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from mlops_assets.features import view_status
from mlops_assets.features.activation import ActivationEvidence, RecordedCertificate, obstacles
from mlops_assets.features.view_status import ReleaseChanged, ViewState, ViewStatus, subject_of
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.semantic_version import parse_version
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import (
    dataset_head,
    feature_release,
    feature_view,
    ledger_entry,
    look_ahead_certificate,
    snapshot,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredRelease:
    """One released version of a view, fixed for ever by its fingerprint."""

    view: str
    version: str
    fingerprint: str
    registered_at: datetime
    registered_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that happened to a view, in words."""

    seq: int
    at: datetime
    actor: str
    what: str
    reason: str


class FeatureRegistry:
    """Keeps the state of views in SQL. Doing the same again is no change and no entry."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def state(self, view: str) -> ViewState:
        """Return where a view stands; one that nobody touched is a draft."""
        with self._database.read() as connection:
            return _state(connection, view)

    def states(self) -> dict[str, ViewState]:
        """Return where each view stands that somebody touched, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(feature_view).order_by(feature_view.c.view)).mappings()
            return {row["view"]: _state_of(row) for row in rows}

    def activate(self, evidence: ActivationEvidence, *, actor: str, reason: str = "") -> ViewState:
        """Make the examined version of a view the active one, and register its release.

        Raises:
            MoveNotAllowed: if the view is archived.
            ActivationBlocked: with every validation that does not hold.
            ReleaseChanged: if another content was registered under the version.
            Conflict: if the view was published anew after it was examined.
        """
        with self._database.begin() as connection:
            before = _state(connection, evidence.view)
            if evidence.release_fingerprint is not None:
                _is_registered(connection, evidence.view, evidence.version, evidence.release_fingerprint)
            after, change = view_status.activate(
                before,
                version=evidence.version,
                obstacles=obstacles(evidence),
                actor=actor,
                reason=reason,
                evidence={"snapshot": evidence.snapshot_fingerprint, "release": evidence.release_fingerprint},
            )
            if change is None or evidence.release_fingerprint is None:
                return before
            _require_head(connection, evidence)
            self._register(connection, evidence.view, evidence.version, evidence.release_fingerprint, actor)
            return self._save(connection, after, change)

    def deprecate(self, view: str, *, reason: str, actor: str, successor: str | None = None) -> ViewState:
        """Ask everybody to move on from a view.

        Raises:
            MoveNotAllowed: if it is not active.
            Conflict: without a reason, or if the successor is on its way out too.
        """
        with self._database.begin() as connection:
            before = _state(connection, view)
            instead = None if successor is None else _state(connection, successor)
            return self._save(connection, *view_status.deprecate(before, reason=reason, successor=instead, actor=actor))

    def archive(self, view: str, *, readers: Callable[[], Sequence[str]], actor: str, reason: str = "") -> ViewState:
        """Put a deprecated view away for good.

        Args:
            readers: names what still reads it. Asked inside the transaction: nobody deploys a reader meanwhile.

        Raises:
            MoveNotAllowed: if it is not deprecated.
            StillRead: naming everything that reads it.
        """
        with self._database.begin() as connection:
            before = _state(connection, view)
            return self._save(connection, *view_status.archive(before, readers=readers(), actor=actor, reason=reason))

    def set_active(self, view: str, version: str, *, actor: str, reason: str) -> ViewState:
        """Make readers of a view get another registered version.

        Raises:
            NotFound: naming the registered versions.
            Conflict: if the view is archived, or without a reason.
        """
        with self._database.begin() as connection:
            known = _releases(connection, view)
            if version not in {one.version for one in known}:
                listed = ", ".join(one.version for one in known) or "none"
                raise NotFound(
                    kind="release", name=f"{view} {version}", remedy=f"Registered versions of {view}: {listed}."
                )
            before = _state(connection, view)
            return self._save(connection, *view_status.point_at(before, version=version, actor=actor, reason=reason))

    def register_release(self, view: str, version: str, release_fingerprint: str, *, actor: str) -> None:
        """Fix what a released version is; the same again changes nothing.

        Raises:
            ReleaseChanged: if another content was registered under the version.
        """
        with self._database.begin() as connection:
            self._register(connection, view, version, release_fingerprint, actor)

    def releases(self, view: str) -> list[RegisteredRelease]:
        """Return a view's registered versions, lowest first."""
        with self._database.read() as connection:
            return _releases(connection, view)

    def release_fingerprint(self, view: str, version: str) -> str | None:
        """Return what a version was registered as, or None."""
        with self._database.read() as connection:
            return _release(connection, view, version)

    def record_certificate(
        self,
        *,
        view: str,
        version: str,
        snapshot_fingerprint: str,
        bars_fingerprint: str,
        cuts: Sequence[str],
        rows_compared: int,
        peeks: Sequence[str],
        is_clean: bool,
        actor: str,
    ) -> RecordedCertificate:
        """Keep what the look-ahead check found of a snapshot. The newest counts; the same again is that one."""
        content = {
            "view": view,
            "version": version,
            "snapshot_fingerprint": snapshot_fingerprint,
            "bars_fingerprint": bars_fingerprint,
            "cuts": list(cuts),
            "rows_compared": rows_compared,
            "peeks": list(peeks),
            "is_clean": is_clean,
        }
        identity = fingerprint(content)
        with self._database.begin() as connection:
            newest = _certificate(connection, view, snapshot_fingerprint)
            if newest is not None and newest.fingerprint == identity:
                return newest
            seq = self._journal.append(
                connection,
                Change(
                    actor=actor,
                    action="look_ahead_certificate.issue",
                    subject=subject_of(view),
                    before=None if newest is None else newest.fingerprint,
                    after=identity,
                    details={
                        "version": version,
                        "snapshot": snapshot_fingerprint,
                        "bars": bars_fingerprint,
                        "cuts": len(cuts),
                        "rows_compared": rows_compared,
                        "is_clean": is_clean,
                    },
                ),
            )
            row = {
                **content,
                "fingerprint": identity,
                "ledger_seq": seq,
                "issued_at": self._clock.now(),
                "issued_by": actor,
            }
            connection.execute(sa.insert(look_ahead_certificate).values(row))
            return _recorded(row)

    def certificate_of(self, view: str, snapshot_fingerprint: str) -> RecordedCertificate | None:
        """Return the newest certificate of exactly that snapshot, or None."""
        with self._database.read() as connection:
            return _certificate(connection, view, snapshot_fingerprint)

    def history(self, view: str) -> list[HistoryEntry]:
        """Return what happened to a view, oldest first, as the ledger tells it."""
        statement = (
            sa.select(ledger_entry).where(ledger_entry.c.subject == subject_of(view)).order_by(ledger_entry.c.seq)
        )
        with self._database.read() as connection:
            return [
                HistoryEntry(
                    seq=row.seq,
                    at=row.at,
                    actor=row.actor,
                    what=_in_words(row.action, row.details),
                    reason=row.reason,
                )
                for row in connection.execute(statement)
            ]

    def _save(self, connection: sa.Connection, state: ViewState, change: Change | None) -> ViewState:
        if change is None:
            return state
        seq = self._journal.append(connection, change)
        failpoint("feature_view.journaled")
        values = {**state.as_json(), "updated_at": self._clock.now(), "ledger_seq": seq}
        is_known = connection.scalar(sa.select(feature_view.c.view).where(feature_view.c.view == state.view))
        if is_known is None:
            connection.execute(sa.insert(feature_view).values(values))
        else:
            connection.execute(sa.update(feature_view).where(feature_view.c.view == state.view).values(values))
        failpoint("feature_view.saved")
        return state

    def _register(
        self, connection: sa.Connection, view: str, version: str, release_fingerprint: str, actor: str
    ) -> None:
        if _is_registered(connection, view, version, release_fingerprint):
            return
        parse_version(version)
        seq = self._journal.append(
            connection,
            Change(
                actor=actor,
                action="feature_release.register",
                subject=subject_of(view),
                after=release_fingerprint,
                details={"version": version},
            ),
        )
        connection.execute(
            sa.insert(feature_release).values(
                view=view,
                version=version,
                fingerprint=release_fingerprint,
                registered_at=self._clock.now(),
                registered_by=actor,
                ledger_seq=seq,
            )
        )
        failpoint("feature_release.registered")


def _state(connection: sa.Connection, view: str) -> ViewState:
    row = connection.execute(sa.select(feature_view).where(feature_view.c.view == view)).mappings().one_or_none()
    return ViewState(view=view) if row is None else _state_of(row)


def _state_of(row: sa.RowMapping) -> ViewState:
    return ViewState(
        view=row["view"],
        status=ViewStatus(row["status"]),
        active_version=row["active_version"],
        successor=row["successor"],
    )


def _release(connection: sa.Connection, view: str, version: str) -> str | None:
    return connection.scalar(
        sa.select(feature_release.c.fingerprint).where(
            feature_release.c.view == view, feature_release.c.version == version
        )
    )


def _is_registered(connection: sa.Connection, view: str, version: str, release_fingerprint: str) -> bool:
    """Tell whether a version is registered as this content; refuse another one."""
    registered = _release(connection, view, version)
    if registered not in (None, release_fingerprint):
        raise ReleaseChanged(view=view, version=version, registered=registered, found=release_fingerprint)
    return registered is not None


def _releases(connection: sa.Connection, view: str) -> list[RegisteredRelease]:
    names = tuple(RegisteredRelease.__dataclass_fields__)
    rows = connection.execute(sa.select(*(feature_release.c[name] for name in names)).filter_by(view=view)).mappings()
    return sorted((RegisteredRelease(**row) for row in rows), key=lambda one: parse_version(one.version))


def _certificate(connection: sa.Connection, view: str, snapshot_fingerprint: str) -> RecordedCertificate | None:
    statement = (
        sa.select(look_ahead_certificate)
        .where(
            look_ahead_certificate.c.view == view,
            look_ahead_certificate.c.snapshot_fingerprint == snapshot_fingerprint,
        )
        .order_by(look_ahead_certificate.c.ledger_seq.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _recorded(row)


def _recorded(row: Mapping[str, object] | sa.RowMapping) -> RecordedCertificate:
    fields = {name: row[name] for name in RecordedCertificate.__dataclass_fields__}
    return RecordedCertificate(**{**fields, "cuts": tuple(fields["cuts"]), "peeks": tuple(fields["peeks"])})  # pyright: ignore[reportArgumentType] - the table's types


def _require_head(connection: sa.Connection, evidence: ActivationEvidence) -> None:
    """Refuse evidence about a snapshot that is no longer what readers get."""
    statement = (
        sa.select(snapshot.c.fingerprint)
        .join(
            dataset_head,
            (dataset_head.c.dataset == snapshot.c.dataset) & (dataset_head.c.version == snapshot.c.version),
        )
        .where(snapshot.c.dataset == evidence.dataset)
    )
    if connection.scalar(statement) != evidence.snapshot_fingerprint:
        raise Conflict(
            f"feature view {evidence.view}: it was published anew while its validations ran. Activate it again."
        )


def _in_words(action: str, details: Mapping[str, object]) -> str:
    """Say what a ledger entry of a view means."""
    match action:
        case "feature_view.activate" | "feature_view.deprecate" | "feature_view.archive":
            is_moved = details["status_before"] != details["status_after"]
            moved = f"{details['status_before']} → {details['status_after']}" if is_moved else details["status_after"]
            version = f", version {details['version_after']}" if action == "feature_view.activate" else ""
            successor = f", use {details['successor']}" if details.get("successor") else ""
            return f"{moved}{version}{successor}"
        case "feature_view.set_active":
            return f"active version {details['version_before'] or 'none'} → {details['version_after']}"
        case "feature_release.register":
            return f"version {details['version']} registered"
        case "look_ahead_certificate.issue":
            found = "clean" if details["is_clean"] else "PEEKS"
            return f"look-ahead certificate of {details['version']}: {found}, {details['cuts']} cuts"
        case _:
            return action
