from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.automation import alert_delivery_sensor, failed_check_sensor
from mlops_assets.alerts.delivery import TemporaryFailure
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.assets import AUDIT_CHECKPOINT, CHECK, checkpoint_definitions
from mlops_assets.ledger.checkpoints import Checkpoints
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.keys import KeyFolder
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import MovingClock, Scripted, alert

DAGSTER = Principal(name="dagster", roles=frozenset({Role.SERVICE}))
CHECKPOINT = "governance/audit_checkpoint"


def tick(
    sensor: dg.SensorDefinition, alerts: Alerts, *, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult:
    resources = {"alerts": alerts, "actor": DAGSTER}
    result = sensor(dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def said(result: dg.SensorResult) -> str:
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_a_tick_sends_what_is_due_and_says_what_it_sent(over: Callable[..., Alerts]):
    def down(_: object) -> None:
        raise TemporaryFailure("HTTP 503")

    alerts = over(Scripted("log"), Scripted("webhook", down))
    with dg.DagsterInstance.ephemeral() as instance:
        assert said(tick(alert_delivery_sensor(), alerts, instance=instance)) == "nothing is due"
        for key in ("a", "b"):
            alerts.raise_alert(alert(key), "dagster")
        found = said(tick(alert_delivery_sensor(), alerts, instance=instance))
    assert found == "log delivered: 2, webhook pending: 1"


def test_the_sensor_runs_by_itself_every_half_minute():
    sensor = alert_delivery_sensor()
    assert (sensor.name, sensor.minimum_interval_seconds) == ("alert_delivery", 30)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def checked(instance: dg.DagsterInstance, *, passed: bool) -> None:
    """Materialise a checkpoint whose check says what the test wants."""
    spec = dg.AssetCheckSpec("chain_is_intact", asset=dg.AssetKey(CHECKPOINT.split("/")), blocking=True)

    @dg.asset(key=CHECKPOINT.split("/"), check_specs=[spec])
    def audit_checkpoint() -> dg.MaterializeResult:
        metadata = {"problem": "entry 3 was changed after it was written", "entries": 9}
        result = dg.AssetCheckResult(check_name="chain_is_intact", passed=passed, metadata=metadata)
        return dg.MaterializeResult(check_results=[result])

    dg.materialize([audit_checkpoint], instance=instance, raise_on_error=False)


def test_a_broken_audit_chain_is_a_critical_alert_once_for_each_time_it_is_found(over: Callable[..., Alerts]):
    alerts = over(Scripted("log"))
    sensor = failed_check_sensor(CHECKPOINT, "chain_is_intact", severity=Severity.CRITICAL)
    with dg.DagsterInstance.ephemeral() as instance:
        assert said(tick(sensor, alerts, instance=instance)) == "0 new failures of chain_is_intact, raised 0 alerts"
        checked(instance, passed=True)
        assert alerts.list() == []
        checked(instance, passed=False)
        checked(instance, passed=True)  # the failure before is told all the same
        first = tick(sensor, alerts, instance=instance)
        assert said(first) == "1 new failures of chain_is_intact, raised 1 alerts"
        (known,) = alerts.list()
        again = tick(sensor, alerts, instance=instance, cursor=first.cursor)
        assert (again.cursor, said(again)) == (first.cursor, "0 new failures of chain_is_intact, raised 0 alerts")
        checked(instance, passed=False)
        later = tick(sensor, alerts, instance=instance, cursor=first.cursor)
        assert said(later) == "1 new failures of chain_is_intact, raised 0 alerts"
    assert known.alert.severity is Severity.CRITICAL
    assert (known.alert.subject, known.alert.kind) == (CHECKPOINT, "failed_check")
    assert known.alert.details == {"problem": "entry 3 was changed after it was written", "entries": "9"}
    assert alerts.get(known.id).occurrences == 2


def test_an_entry_that_somebody_edited_ends_as_an_alert(
    over: Callable[..., Alerts], database: Database, ledger: Ledger, clock: MovingClock, tmp_path: Path
):
    channel = Scripted("log")
    alerts = over(channel)
    for key in ("a", "b"):
        alerts.raise_alert(alert(key), "dagster")
    checkpoints = Checkpoints(ledger, KeyFolder(tmp_path / "keys"), tmp_path / "checkpoints", clock)
    definitions = checkpoint_definitions(after="governance/kpis")
    sensor = failed_check_sensor(AUDIT_CHECKPOINT, CHECK, severity=Severity.CRITICAL)
    resources = {"journal": ledger, "checkpoints": checkpoints}
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(list(definitions.assets or ()), resources=resources, instance=instance).success
        assert "raised 0" in said(tick(sensor, alerts, instance=instance))
        with database.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER ledger_entry_refuses_update"))
            connection.execute(sa.text("UPDATE ledger_entry SET actor = 'nobody' WHERE seq = 1"))
        dg.materialize(list(definitions.assets or ()), resources=resources, instance=instance, raise_on_error=False)
        assert "raised 1" in said(tick(sensor, alerts, instance=instance))
    alerts.deliver_due(by="dagster")
    (told,) = [message.alert for message in channel.sent if message.alert.key not in "ab"]
    assert (told.kind, told.severity, told.subject) == ("failed_check", Severity.CRITICAL, AUDIT_CHECKPOINT)
    assert "entry 1 was changed" in str(told.details["problem"])
