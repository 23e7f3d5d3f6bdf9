"""Alerts over HTTP: what was told and where it got, and another try for what nobody took."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.storage.sql.tables import alert_delivery
from tests.rest.client import Api, Services

ALERTS = "/api/v1/alerts"


def tell(services: Services, subject: str, severity: Severity = Severity.HIGH) -> str:
    alert = Alert(key=f"drift:{subject}", kind="drift", severity=severity, subject=subject, summary=f"{subject} drifts")
    return services.alerts.raise_alert(alert, by="dagster").id


def bury(services: Services, alert_id: str) -> None:
    with services.database.begin() as connection:
        connection.execute(
            sa.update(alert_delivery)
            .where(alert_delivery.c.alert_id == alert_id)
            .values(state="dead", attempts=12, next_attempt_at=services.clock.now() + timedelta(hours=1))
        )


def test_alerts_are_listed_newest_first_and_paged(api: Api, services: Services):
    told = [tell(services, f"features/f{number}") for number in range(5)]
    first = api.get(f"{ALERTS}?limit=3").json()
    second = api.get(ALERTS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in (*first["alerts"], *second["alerts"])] == told[::-1]
    assert second["next_cursor"] is None
    assert first["alerts"][0]["deliveries"][0]["state"] == "pending"


def test_alerts_are_found_by_severity_subject_and_delivery(api: Api, services: Services):
    low, high = tell(services, "features/a", Severity.LOW), tell(services, "features/b")
    bury(services, low)
    for query, expected in (("severity=high", high), ("subject=features/a", low), ("state=dead", low)):
        assert [one["id"] for one in api.get(f"{ALERTS}?{query}").json()["alerts"]] == [expected]
    for query in ("severity=loud", "state=lost", "limit=101", "cursor=x"):
        assert api.get(f"{ALERTS}?{query}").status_code == 422


def test_a_dead_letter_is_tried_again_once(api: Api, services: Services):
    told = tell(services, "features/a")
    assert api.as_("mo").ask("POST", f"{ALERTS}/{told}/retry").status_code == 409
    bury(services, told)
    assert api.as_("vi").ask("POST", f"{ALERTS}/{told}/retry").status_code == 403
    revived = api.as_("mo").ask("POST", f"{ALERTS}/{told}/retry").json()
    assert {(one["state"], one["attempts"]) for one in revived["deliveries"]} == {("pending", 0)}
    assert [entry.actor for entry in services.ledger.entries(action="alert.retry")] == ["mo"]
    assert api.as_("mo").ask("POST", f"{ALERTS}/none/retry").status_code == 404
