"""Each KPI against the same figure worked out from the raw rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from mlops_assets.kpis.facts import gather_facts
from mlops_assets.kpis.measures import Facts, Kpi, measure
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import drift_event, prompt_evaluation, replay
from tests.governance.worlds import Desk

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOTHING = Facts(
    model_versions=0,
    model_versions_with_complete_metadata=0,
    replays=0,
    model_driven_replays=0,
    model_driven_replays_with_explanations=0,
    approval_lead_times=(),
    approvals_decided_in_time=0,
    approval_overrides=0,
    prompt_evaluations=0,
    prompt_evaluations_passed=0,
    open_drift_events=0,
)


def kpis_of(facts: Facts) -> dict[str, Kpi]:
    return {kpi.name: kpi for kpi in measure(facts)}


def insert(database: Database, table: sa.Table, **values: object) -> None:
    with database.begin() as connection:
        connection.execute(sa.insert(table).values(**values))


def insert_replay(database: Database, number: int, **inputs: str) -> None:
    insert(
        database,
        replay,
        id=f"{number:064d}",
        scenario="s",
        candidate="c",
        result_fingerprint="f",
        metrics={},
        checks=[],
        inputs=inputs,
        created_at=AT,
        created_by="dagster",
    )


def test_a_share_of_nothing_has_no_value_and_meets_no_target():
    measured = kpis_of(NOTHING)
    assert measured["lifecycle_metadata_complete"].value is None
    assert measured["lifecycle_metadata_complete"].is_met is None
    assert measured["approval_lead_time"].value is None
    assert measured["drift_events_open"].value == 0.0
    assert measured["drift_events_open"].is_met is None


def test_shares_by_hand():
    facts = replace(NOTHING, model_versions=4, model_versions_with_complete_metadata=3, prompt_evaluations=20)
    measured = kpis_of(replace(facts, prompt_evaluations_passed=19))
    assert measured["lifecycle_metadata_complete"].value == 0.75
    assert measured["lifecycle_metadata_complete"].is_met is False
    assert measured["prompt_evaluations_passed"].value == 0.95
    assert measured["prompt_evaluations_passed"].is_met is True


def test_a_lead_time_is_a_median_and_shorter_is_better():
    times = [timedelta(hours=1), timedelta(hours=30), timedelta(hours=2)]
    assert kpis_of(replace(NOTHING, approval_lead_times=times))["approval_lead_time"].value == 2.0
    late = kpis_of(replace(NOTHING, approval_lead_times=[timedelta(hours=25)]))["approval_lead_time"]
    assert late.is_met is False


def test_decisions_in_time_are_a_share_and_one_override_misses_the_target():
    times = [timedelta(hours=1)] * 4
    measured = kpis_of(replace(NOTHING, approval_lead_times=times, approvals_decided_in_time=3, approval_overrides=1))
    assert measured["approvals_decided_in_time"].value == 0.75
    assert (measured["approval_overrides"].value, measured["approval_overrides"].is_met) == (1.0, False)
    assert kpis_of(NOTHING)["approval_overrides"].is_met is True


def explain(snapshots: SnapshotStore, model: str, version: str) -> None:
    inputs = {f"models/{model}": version, "training_sets/t": "f"}
    rows = pa.table({"shap_x": [float(len(version))]})
    provenance = Provenance(code_version="c", inputs=inputs)
    snapshots.publish(f"explanations/{model}", rows, provenance=provenance, actor="dagster")


def explained_of(database: Database) -> tuple[int, int, int]:
    facts = gather_facts(database)
    return facts.replays, facts.model_driven_replays, facts.model_driven_replays_with_explanations


def test_replays_count_as_explained_when_their_model_is(database: Database, snapshots: SnapshotStore):
    insert_replay(database, 1)
    insert_replay(database, 2, **{"predictions/m": "f", "models/m": "first"})
    insert_replay(database, 3, **{"predictions/other": "f", "models/other": "first"})
    explain(snapshots, "m", "first")
    assert explained_of(database) == (3, 2, 1)


def test_explanations_of_one_version_say_nothing_of_another(database: Database, snapshots: SnapshotStore):
    insert_replay(database, 1, **{"predictions/m": "f", "models/m": "first"})
    insert_replay(database, 2, **{"predictions/m": "g", "models/m": "second"})
    insert_replay(database, 3, **{"predictions/m": "h", "models/m": "third"})
    explain(snapshots, "m", "first")
    assert explained_of(database) == (3, 3, 1)
    explain(snapshots, "m", "second")  # what explained the first is history now, and counts
    explain(snapshots, "another", "third")
    assert explained_of(database) == (3, 3, 2)


def test_lead_times_run_from_submission_to_the_deciding_verdict(database: Database):
    desk = Desk(database)
    drafted = [desk.draft(subject=f"reports/{name}") for name in ("decided", "late", "waiting", "overridden")]
    desk.clock.pass_by(hours=7)  # a draft waits for nobody
    decided, late, waiting, overridden = (desk.store.submit(one.id, by=desk.dagster) for one in drafted)
    desk.clock.pass_by(hours=3)
    desk.approve(decided, desk.ana)
    desk.approve(waiting, desk.ana)
    desk.clock.pass_by(hours=2)
    desk.approve(decided, desk.ben)
    for one in (desk.ana, desk.ben):
        desk.store.override(overridden.id, by=one, reason="the feed is down")
    desk.clock.pass_by(hours=44)  # the rule of tier 2 gives 48 hours
    desk.reject(late, desk.cho)
    desk.store.revoke(decided.id, by=desk.ana, reason="it was decided all the same")
    facts = gather_facts(database)
    assert facts.approval_lead_times == [timedelta(hours=5), timedelta(hours=49)]
    assert (facts.approvals_decided_in_time, facts.approval_overrides) == (1, 1)


@pytest.mark.parametrize(("status", "count"), [("open", 1), ("acknowledged", 1), ("resolved", 0)])
def test_drift_events_are_open_until_resolved(database: Database, status: str, count: int):
    insert(
        database,
        drift_event,
        id="e",
        subject="drift/m/v",
        metric_name="x:ks",
        metric_value=1.0,
        threshold=0.5,
        severity="high",
        status=status,
        message="",
        snapshot_fingerprint="f",
        detected_at=AT,
    )
    assert gather_facts(database).open_drift_events == count


def test_prompt_evaluations_are_counted_by_their_outcome(database: Database):
    for number, is_passed in enumerate([True, True, False]):
        insert(
            database,
            prompt_evaluation,
            id=str(number),
            prompt_id="p",
            version="1.0.0",
            prompt_fingerprint="f",
            outputs_fingerprint="f",
            is_passed=is_passed,
            findings=[],
            created_at=AT,
            created_by="dagster",
        )
    facts = gather_facts(database)
    assert (facts.prompt_evaluations, facts.prompt_evaluations_passed) == (3, 2)
