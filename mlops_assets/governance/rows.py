"""How requests for approval lie in SQL: one row each, with rows for parties, decisions and overrides."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from mlops_assets.governance.evidence import Evidence
from mlops_assets.governance.spec import Approval, Decision, Duty, Override, Party, Verdict
from mlops_assets.governance.transitions import State
from mlops_assets.kernel.identity import Role
from mlops_assets.storage.sql.tables import approval, approval_decision, approval_override, approval_party, ledger_entry

_BOUND = (
    *("id", "subject", "tier", "evidence_fingerprint", "round", "quorum", "required_role", "created_by", "created_at"),
    "valid_days",
)
_MOVING = (
    *("state", "is_override", "closed_reason", "submitted_by", "submitted_at", "review_started_at", "decided_at"),
    *("due_at", "expires_at"),
)
# Evidence as text: a row that somebody damaged must be named when it is used, not stop every listing.
_COLUMNS = tuple(
    sa.cast(column, sa.Text).label("evidence") if column.name == "evidence" else column for column in approval.columns
)


def insert(connection: sa.Connection, request: Approval) -> None:
    """Write a new request with its parties."""
    values = {name: getattr(request, name) for name in (*_BOUND, *_MOVING)}
    values |= {"evidence": request.evidence.as_json(), "moved": list(request.moved)}
    connection.execute(sa.insert(approval).values(values))
    add_parties(connection, request.id, request.parties)


def update(connection: sa.Connection, request: Approval) -> None:
    """Write where a request stands now."""
    values: dict[str, Any] = {name: getattr(request, name) for name in _MOVING}
    values["moved"] = list(request.moved)
    connection.execute(sa.update(approval).where(approval.c.id == request.id).values(values))


def recorded_fingerprint(connection: sa.Connection, request: Approval) -> str | None:
    """Return the fingerprint that the newest ledger entry of a request says it has, or None if there is no entry."""
    entries = (
        sa.select(ledger_entry.c.after)
        .where(
            ledger_entry.c.subject == request.subject,
            ledger_entry.c.action.startswith("approval."),
            ledger_entry.c.details["approval"].as_string() == request.id,
        )
        .order_by(ledger_entry.c.seq.desc())
    )
    return connection.scalar(entries.limit(1))


def add_parties(connection: sa.Connection, approval_id: str, parties: Iterable[Party]) -> None:
    """Write who had a hand in it."""
    rows = [{"approval_id": approval_id, "principal": one.principal, "part": one.duty} for one in parties]
    if rows:
        connection.execute(sa.insert(approval_party), rows)


def add_decision(connection: sa.Connection, request: Approval) -> None:
    """Write the last verdict of a request."""
    decision = request.decisions[-1]
    connection.execute(
        sa.insert(approval_decision).values(
            approval_id=request.id,
            approver=decision.approver,
            verdict=decision.verdict,
            capacity=decision.capacity or "",
            evidence_fingerprint=request.evidence_fingerprint,
            note=decision.note,
            credential=decision.credential,
            at=decision.at,
        )
    )


def add_override(connection: sa.Connection, request: Approval) -> None:
    """Write the last word of an emergency override."""
    own = request.overrides[-1]
    connection.execute(
        sa.insert(approval_override).values(
            approval_id=request.id,
            principal=own.principal,
            evidence_fingerprint=request.evidence_fingerprint,
            reason=own.reason,
            credential=own.credential,
            at=own.at,
        )
    )


def find(connection: sa.Connection, approval_id: str) -> Approval | None:
    """Return one request, or None."""
    return next(iter(select(connection, approval.c.id == approval_id)), None)


def select(
    connection: sa.Connection,
    *where: sa.ColumnElement[bool],
    order: Sequence[sa.ColumnElement[Any]] = (approval.c.created_at, approval.c.id),
    limit: int | None = None,
) -> list[Approval]:
    """Return the requests that meet every condition, oldest first, with all that was decided on them."""
    statement = sa.select(*_COLUMNS).where(*where).order_by(*order).limit(limit)
    found = connection.execute(statement).mappings().all()
    ids = [row["id"] for row in found]
    parties = _of(connection, approval_party, ids, order=("principal", "part"))
    decisions = _of(connection, approval_decision, ids, order=("at", "approver"))
    overrides = _of(connection, approval_override, ids, order=("at", "principal"))
    return [
        _approval(
            row,
            tuple(Party(principal=one.principal, duty=Duty(one.part)) for one in parties.get(row["id"], ())),
            tuple(_decision(one) for one in decisions.get(row["id"], ())),
            tuple(_override(one) for one in overrides.get(row["id"], ())),
        )
        for row in found
    ]


def _of(
    connection: sa.Connection, table: sa.Table, ids: Sequence[str], *, order: Sequence[str]
) -> dict[str, list[sa.Row[Any]]]:
    """Return the rows of some requests by request: one query, however many there are."""
    statement = sa.select(table).where(table.c.approval_id.in_(ids)).order_by(*(table.c[name] for name in order))
    found = dict[str, list[sa.Row[Any]]]()
    for row in connection.execute(statement) if ids else ():
        found.setdefault(row.approval_id, []).append(row)
    return found


def _approval(
    row: sa.RowMapping,
    parties: tuple[Party, ...],
    decisions: tuple[Decision, ...],
    overrides: tuple[Override, ...],
) -> Approval:
    role = row["required_role"]
    read = {
        "evidence": _evidence(row["evidence"]),
        "state": State(row["state"]),
        "required_role": None if role is None else Role(role),
        "moved": tuple(row["moved"]),
    }
    return Approval(**{**row, **read}, parties=parties, decisions=decisions, overrides=overrides)


def _evidence(text: str) -> Evidence:
    """Read stored evidence; what can't be read is empty, and so does not match what the request is bound to."""
    try:
        return Evidence.from_json(json.loads(text))
    except ValueError:
        return Evidence(parts=())


def _decision(row: sa.Row[Any]) -> Decision:
    return Decision(
        approver=row.approver,
        verdict=Verdict(row.verdict),
        capacity=Role(row.capacity) if row.capacity else None,
        note=row.note,
        credential=row.credential,
        at=row.at,
    )


def _override(row: sa.Row[Any]) -> Override:
    return Override(principal=row.principal, reason=row.reason, credential=row.credential, at=row.at)
