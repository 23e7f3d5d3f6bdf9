"""Who did what, and whether the record of it holds, over HTTP."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict

from mlops_assets.kernel.cursor import Listing
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.identity import Gate, Principal
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.checkpoints import Checkpoints
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


_CHECKPOINT: dict[str, Any] = {
    "ledger": _HASH,
    "seq": 42,
    "head_hash": _HASH,
    "at": "2024-05-02T21:30:00Z",
    "key_id": "0f343b0931126a20",
    "signature": _HASH + _HASH,
}


def _instant(text: object) -> object:
    """Read a point in time; one without a time zone is refused, never guessed."""
    if not isinstance(text, str):
        return text
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a date and a time, as in 2024-05-02T21:30:00Z") from None
    if found.tzinfo is None:
        raise ValueError("add the time zone, as in 2024-05-02T21:30:00Z; in an address a + is written %2B")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError("this is no time of the calendar in UTC; write one between the years 1 and 9999") from None


Cursor = Annotated[str | None, Query(max_length=1_000)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Instant = Annotated[datetime, BeforeValidator(_instant)]


class AlreadyVerifying(PlatformError):
    """Somebody else's request walks the ledger now; two would take twice as long."""

    code: ClassVar[str] = "too_many_requests"
    retry_after_seconds: ClassVar[int] = 5


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
    """A page of entries in order; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"entries": [_ENTRY], "next_cursor": None}]})

    entries: list[AuditEntry]
    next_cursor: str | None


class AuditVerification(BaseModel):
    """What a walk along the whole chain found, against itself and against the signed checkpoints.

    `first_bad` is the first entry known not to hold, `vouched` the last that a checkpoint vouches for.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "intact",
                    "entries": 42,
                    "head_hash": _HASH,
                    "first_bad": None,
                    "problem": "",
                    "vouched": 40,
                    "checkpoints": 3,
                }
            ]
        }
    )

    status: Literal["intact", "broken"]
    entries: int
    head_hash: str
    first_bad: int | None
    problem: str
    vouched: int
    checkpoints: int


class CheckpointView(BaseModel):
    """The ledger's head at some time, signed. `ledger` is the hash of its first entry, `signature` Ed25519 in hex."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHECKPOINT]})

    ledger: str
    seq: int
    head_hash: str
    at: datetime
    key_id: str
    signature: str


class CheckpointPage(BaseModel):
    """A page of checkpoints in order; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"checkpoints": [_CHECKPOINT], "next_cursor": None}]})

    checkpoints: list[CheckpointView]
    next_cursor: str | None


def router(ledger: Ledger, checkpoints: Checkpoints, allowed: Gate) -> APIRouter:
    """Return the routes of the audit ledger."""
    routes = APIRouter(prefix="/audit", tags=["governance"])
    signed = Listing(name="checkpoints", position=(int,))
    walking = threading.Lock()
    signer = Depends(allowed("audit.checkpoint"))

    @routes.get("")
    def list_entries(
        actor: Annotated[str | None, Query(max_length=200)] = None,
        action: Annotated[str | None, Query(max_length=100)] = None,
        subject: Annotated[str | None, Query(max_length=400)] = None,
        since: Annotated[Instant | None, Query(description="The first instant.")] = None,
        until: Annotated[Instant | None, Query(description="The first instant that does not count.")] = None,
        newest_first: bool = False,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> AuditEntries:
        """List entries in order. An actor, action or subject that ends with `*` stands for all that begin so."""
        filters = {"actor": actor, "action": action, "subject": subject, "newest_first": newest_first}
        times = {name: at and at.isoformat() for name, at in (("since", since), ("until", until))}
        listing = Listing(name="audit", position=(int,), filters={**filters, **times})
        seen = int(position[0]) if (position := listing.after(cursor)) is not None else None
        found = list(
            ledger.entries(
                after_seq=0 if newest_first else seen or 0,
                until_seq=seen - 1 if newest_first and seen is not None else None,
                newest_first=newest_first,
                actor=actor,
                action=action,
                subject=subject,
                since=since,
                until=until,
                limit=limit + 1,
            )
        )
        more = listing.cursor((found[limit - 1].seq,)) if len(found) > limit else None
        return AuditEntries(entries=[_entry(one) for one in found[:limit]], next_cursor=more)

    @routes.get("/verify", responses={429: {}})
    def verify() -> AuditVerification:
        """Walk the whole chain and say whether it holds; one walk at a time."""
        if not walking.acquire(blocking=False):
            raise AlreadyVerifying("The ledger is being verified for another request. Ask again in some seconds.")
        try:
            found = ledger.verify()
        finally:
            walking.release()
        return AuditVerification(
            status="intact" if found.is_intact else "broken",
            entries=found.entries,
            head_hash=found.head_hash,
            first_bad=found.first_bad,
            problem=found.problem,
            vouched=found.vouched,
            checkpoints=found.checkpoints,
        )

    @routes.get("/checkpoints")
    def list_checkpoints(cursor: Cursor = None, limit: Limit = 100) -> CheckpointPage:
        """List the signed checkpoints in order, each signature verified."""
        position = signed.after(cursor)
        found = [one for one in checkpoints.all() if position is None or (one.seq,) > position]
        more = signed.cursor((found[limit - 1].seq,)) if len(found) > limit else None
        return CheckpointPage(checkpoints=[_checkpoint(one) for one in found[:limit]], next_cursor=more)

    @routes.post("/checkpoints", responses={404: {}})
    def sign_checkpoint(_: Principal = signer) -> CheckpointView:
        """Sign the ledger's head; where it has not moved, return the checkpoint that is there."""
        return _checkpoint(checkpoints.sign())

    return routes


def _entry(entry: Entry) -> AuditEntry:
    return AuditEntry.model_validate({**entry.as_json(), "at": entry.at})


def _checkpoint(one: Checkpoint) -> CheckpointView:
    return CheckpointView(
        ledger=one.ledger,
        seq=one.seq,
        head_hash=one.head_hash,
        at=one.at,
        key_id=one.key_id,
        signature=one.signature,
    )
