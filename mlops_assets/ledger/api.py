"""Who did what, and whether the record of it holds, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from mlops_assets.ledger.entry import Entry
from mlops_assets.ledger.store import Ledger

_HASH = "9b5c1d1b2f0e4f5a8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b"
_ENTRY: dict[str, Any] = {
    "seq": 7,
    "at": "2024-05-02T21:30:00Z",
    "actor": "dagster",
    "action": "snapshot.publish",
    "subject": "features/momentum@1",
    "before": None,
    "after": _HASH,
    "reason": "",
    "details": {"code_version": _HASH},
    "previous_hash": _HASH,
    "hash": _HASH,
}


class AuditEntry(BaseModel):
    """One state change as the ledger recorded it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY]})

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None
    reason: str
    details: dict[str, Any]
    previous_hash: str
    hash: str


class AuditEntries(BaseModel):
    """A page of entries in order; ask again with `after_seq=next_after_seq` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"entries": [_ENTRY], "next_after_seq": None}]})

    entries: list[AuditEntry]
    next_after_seq: int | None


class AuditVerification(BaseModel):
    """What a walk along the whole chain found."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "intact", "entries": 42, "head_hash": _HASH, "first_bad": None, "problem": ""}]
        }
    )

    status: Literal["intact", "broken"]
    entries: int
    head_hash: str
    first_bad: int | None
    problem: str


def router(ledger: Ledger) -> APIRouter:
    """Return the routes of the audit ledger."""
    routes = APIRouter(tags=["governance"])

    @routes.get("/audit")
    def list_entries(
        after_seq: Annotated[int, Query(ge=0, le=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        actor: Annotated[str | None, Query(max_length=200)] = None,
        action: Annotated[str | None, Query(max_length=100)] = None,
        subject: Annotated[str | None, Query(max_length=400)] = None,
    ) -> AuditEntries:
        """List entries in order, optionally only those of one actor, action or subject."""
        found = list(ledger.entries(after_seq=after_seq, actor=actor, action=action, subject=subject, limit=limit + 1))
        shown = found[:limit]
        return AuditEntries(
            entries=[_entry(one) for one in shown], next_after_seq=shown[-1].seq if len(found) > limit else None
        )

    @routes.get("/audit/verify")
    def verify() -> AuditVerification:
        """Walk the whole chain and say whether it holds."""
        found = ledger.verify()
        return AuditVerification(
            status="intact" if found.is_intact else "broken",
            entries=found.entries,
            head_hash=found.head_hash,
            first_bad=found.first_bad,
            problem=found.problem,
        )

    return routes


def _entry(entry: Entry) -> AuditEntry:
    return AuditEntry.model_validate({**entry.as_json(), "at": entry.at})
