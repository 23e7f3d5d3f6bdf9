"""What was alerted, where it was delivered, and another try for what was not: over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.delivery import Delivery, State
from mlops_assets.alerts.service import Alerts
from mlops_assets.alerts.store import KnownAlert
from mlops_assets.kernel.cursor import Listing
from mlops_assets.kernel.identity import Gate, Principal

_AT = "2024-05-02T21:31:00Z"
_ALERT: dict[str, Any] = {
    "id": "0f343b0931126a20f133d67c2b018a3b5e2c5f3f8b7b7a51f1a3a5d5a0b3f2c1",
    "key": "drift:momentum:high",
    "kind": "drift",
    "severity": "high",
    "subject": "features/momentum",
    "summary": "momentum_5d drifts: PSI 0.31, limit 0.25",
    "details": {"psi": 0.31},
    "occurrences": 1,
    "raised_at": _AT,
    "last_seen_at": _AT,
    "ledger_seq": 42,
    "deliveries": [
        {
            "channel": "webhook",
            "state": "dead",
            "attempts": 12,
            "next_attempt_at": _AT,
            "last_error": "the receiver answers 500",
            "delivered_at": None,
        }
    ],
}


class DeliveryView(BaseModel):
    """Where an alert stands on one channel; `dead` is a letter that nobody took."""

    channel: str
    state: State
    attempts: int
    next_attempt_at: datetime
    last_error: str
    delivered_at: datetime | None


class AlertView(BaseModel):
    """Something that a person should look at, and how often it was seen within its cool-down."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ALERT]})

    id: str
    key: str
    kind: str
    severity: Severity
    subject: str
    summary: str
    details: dict[str, Any]
    occurrences: int
    raised_at: datetime
    last_seen_at: datetime
    ledger_seq: int
    deliveries: list[DeliveryView]


class AlertPage(BaseModel):
    """A page of alerts, newest first; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"alerts": [_ALERT], "next_cursor": None}]})

    alerts: list[AlertView]
    next_cursor: str | None


def router(alerts: Alerts, allowed: Gate) -> APIRouter:
    """Return the routes of the alerts."""
    routes = APIRouter(prefix="/alerts", tags=["governance"])
    handler = Depends(allowed("alert.handle"))

    @routes.get("")
    def list_alerts(
        severity: Annotated[Severity | None, Query()] = None,
        subject: Annotated[str | None, Query(max_length=400)] = None,
        state: Annotated[State | None, Query(description="Where a delivery stands; `dead` lists dead letters.")] = None,
        cursor: Annotated[str | None, Query(max_length=1_000)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> AlertPage:
        """List alerts, newest first, optionally of one severity or subject, or with a delivery in one state."""
        filters = {"severity": severity, "subject": subject, "state": state}
        listing = Listing(name="alerts", position=(int,), filters=filters)
        position = listing.after(cursor)
        before_seq = None if position is None else int(position[0])
        found = alerts.list(severity=severity, subject=subject, state=state, before_seq=before_seq, limit=limit + 1)
        more = listing.cursor((found[limit - 1].ledger_seq,)) if len(found) > limit else None
        return AlertPage(alerts=[_view(one) for one in found[:limit]], next_cursor=more)

    @routes.post("/{alert_id}/retry")
    def retry(alert_id: Annotated[str, Path(min_length=1, max_length=64)], caller: Principal = handler) -> AlertView:
        """Make the dead letters of an alert due again; the next delivery takes them."""
        alerts.retry(alert_id, by=caller.name)
        return _view(alerts.get(alert_id))

    return routes


def _view(known: KnownAlert) -> AlertView:
    alert = known.alert
    return AlertView(
        id=known.id,
        key=alert.key,
        kind=alert.kind,
        severity=alert.severity,
        subject=alert.subject,
        summary=alert.summary,
        details=dict(alert.details),
        occurrences=known.occurrences,
        raised_at=known.raised_at,
        last_seen_at=known.last_seen_at,
        ledger_seq=known.ledger_seq,
        deliveries=[_delivery(one) for one in known.deliveries],
    )


def _delivery(one: Delivery) -> DeliveryView:
    return DeliveryView.model_validate({name: getattr(one, name) for name in DeliveryView.model_fields})
