"""The sensor of the queue: it ends what is over, and tells once of what is overdue."""

from __future__ import annotations

import dagster as dg

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.governance.automation import approval_sla_sensor, watch_queue
from mlops_assets.governance.transitions import State
from tests.governance.worlds import Desk


def test_each_overdue_request_is_told_of_once_however_often_one_looks(desk: Desk):
    alerts = Alerts(desk.database, desk.ledger, desk.clock, [])
    urgent, slow = desk.request(tier=1, subject="reports/urgent"), desk.request(tier=3, subject="reports/slow")
    desk.draft(subject="reports/draft")
    cursor = ""
    told: list[str] = []
    for _ in range(40):  # ten days, each six hours: beyond every cool-down
        found = watch_queue(desk.store, alerts, cursor=cursor, by=desk.dagster)
        cursor = found.cursor
        told += [one.approval.id for one in found.overdue]
        desk.clock.pass_by(hours=6)
    assert told == [urgent.id, slow.id]
    by_key = {one.alert.key: one.alert for one in alerts.list()}
    assert set(by_key) == {f"approval:{one.id}:overdue" for one in (urgent, slow)}
    alert = by_key[f"approval:{urgent.id}:overdue"]
    assert (alert.severity, alert.subject, alert.details["needed"]) == (
        Severity.HIGH,
        "reports/urgent",
        "2 more, compliance",
    )


def test_the_sensor_evaluated_twice_does_nothing_twice(desk: Desk):
    alerts = Alerts(desk.database, desk.ledger, desk.clock, [])
    expiring, overdue = desk.request(tier=1, subject="reports/a"), desk.request(tier=3, subject="reports/b")
    desk.clock.pass_by(days=15)
    said: list[str] = []
    entries: list[int] = []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            resources = {"approvals": desk.store, "alerts": alerts, "actor": desk.dagster}
            result = approval_sla_sensor()(dg.build_sensor_context(instance=instance, resources=resources))
            assert isinstance(result, dg.SensorResult)
            assert result.skip_reason is not None
            said.append(result.skip_reason.skip_message or "")
            entries.append(len(list(desk.ledger.entries())))
    assert said[0] == "expired 1, told of 1 that are overdue"
    assert entries[0] == entries[1]
    assert (desk.store.get(expiring.id).state, desk.store.get(overdue.id).state) == (State.EXPIRED, State.SUBMITTED)
    (entry,) = desk.ledger.entries(action="approval.expire")
    assert entry.actor == "dagster"
