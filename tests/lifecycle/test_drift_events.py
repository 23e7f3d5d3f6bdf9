from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from mlops_assets.alerts.alert import Severity
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.lifecycle.automation import drift_sensor
from mlops_assets.lifecycle.drift import DriftResult, FeatureDrift, Score, Statistic, as_table
from mlops_assets.lifecycle.drift_events import Status, acknowledge, escalate, event_for, resolve, severity_of
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from tests.lifecycle.worlds import NOW, Stores, resources, stores

SUBJECT = "drift/momentum"


def _feature(name: str, times: float) -> FeatureDrift:
    scores = (
        Score(statistic=Statistic.KS, value=0.05, threshold=0.2, effective_windows=20.0),
        Score(statistic=Statistic.WASSERSTEIN, value=times * 0.5, threshold=0.5, effective_windows=20.0),
    )
    return FeatureDrift(feature=name, scores=scores)


def _table(*features: FeatureDrift) -> pa.Table:
    day = NOW.date()
    return as_table(
        DriftResult(
            features=features,
            reference_from=day,
            reference_until=day,
            recent_from=day,
            recent_until=day,
            alpha_each=0.005,
        )
    )


def _publish(kept: Stores, *features: FeatureDrift) -> Snapshot:
    provenance = Provenance(code_version="1", inputs={})
    return kept.snapshots.publish(SUBJECT, _table(*features), provenance=provenance, actor="dagster")


def _tick(kept: Stores, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral(), resources=resources(kept), cursor=cursor)
    found = drift_sensor(SUBJECT)(context)
    assert isinstance(found, dg.SensorResult)
    return found


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    return stores(tmp_path, is_mlflow_prepared=False)


@pytest.mark.parametrize(
    ("times", "severity"),
    [
        (1.01, Severity.LOW),
        (1.25, Severity.MEDIUM),
        (1.5, Severity.HIGH),
        (1.99, Severity.HIGH),
        (2.0, Severity.CRITICAL),
    ],
)
def test_severity_follows_how_many_times_the_limit(times: float, severity: Severity):
    assert severity_of(times) is severity


def test_a_tick_opens_one_event_for_each_feature_beyond_its_limit(kept: Stores):
    published = _publish(
        kept, _feature("a", 0.9), _feature("b", 1.3), FeatureDrift(feature="c", reason="the column is String")
    )
    result = _tick(kept, None)
    b, c = sorted(kept.drift_events.list(subject=SUBJECT), key=lambda event: event.metric_name)
    assert (b.metric_name, b.metric_value, b.threshold) == ("b:wasserstein", 0.65, 0.5)
    assert (b.severity, b.status, b.snapshot_fingerprint) == (Severity.MEDIUM, Status.OPEN, published.fingerprint)
    assert (c.metric_name, c.severity) == ("c:not_measured", Severity.HIGH)
    assert (c.metric_value, c.threshold) == (None, None)
    assert [event.metadata["value"].value for event in result.asset_events] == [0.65, "not measured"]
    assert "the column is String" in c.message
    assert result.cursor == "1"
    assert len(result.asset_events) == 2
    assert [entry.action for entry in kept.ledger.entries(action="drift_event.open")] == ["drift_event.open"] * 2


def test_evaluating_a_tick_again_changes_nothing(kept: Stores):
    _publish(kept, _feature("a", 2.5))
    first, again, later = _tick(kept, None), _tick(kept, None), _tick(kept, "1")
    assert len(kept.drift_events.list()) == 1
    assert (first.cursor, again.cursor, later.cursor) == ("1", "1", "1")
    assert (len(first.asset_events), len(again.asset_events)) == (1, 0)
    assert kept.ledger.verify().is_intact


def test_drift_that_goes_on_stays_one_event_until_it_is_resolved(kept: Stores):
    _publish(kept, _feature("a", 1.3))
    _tick(kept, None)
    _publish(kept, _feature("a", 1.4))
    assert len(_tick(kept, "1").asset_events) == 0
    (only,) = kept.drift_events.list()
    kept.drift_events.resolve(only.id, actor="ann", note="the split of 2:1 was missing")
    _publish(kept, _feature("a", 1.35))
    _tick(kept, "2")
    resolved, again = sorted(kept.drift_events.list(), key=lambda event: event.status, reverse=True)
    assert (resolved.id, resolved.status) == (only.id, Status.RESOLVED)
    assert (again.status, again.severity) == (Status.OPEN, Severity.MEDIUM)


def test_worse_drift_escalates_the_event_that_is_open(kept: Stores):
    _publish(kept, _feature("a", 1.1))
    (opened,) = (_tick(kept, None), kept.drift_events.list())[1]
    worse = _publish(kept, _feature("a", 2.5))
    result = _tick(kept, "1")
    (event,) = kept.drift_events.list()
    assert (event.id, event.detected_at) == (opened.id, opened.detected_at)
    assert (opened.severity, event.severity) == (Severity.LOW, Severity.CRITICAL)
    assert (event.metric_value, event.snapshot_fingerprint) == (1.25, worse.fingerprint)
    assert "2.50 times" in event.message
    assert len(result.asset_events) == 1
    (entry,) = kept.ledger.entries(action="drift_event.escalate")
    assert (entry.after, entry.details["severity_before"], entry.details["severity"]) == (event.id, "low", "critical")


def test_escalating_twice_is_escalating_once_and_an_event_never_gets_milder(kept: Stores):
    for times in (1.1, 2.5, 1.6):
        _publish(kept, _feature("a", times))
    results = [_tick(kept, cursor) for cursor in (None, None, "1", "2")]
    assert [len(result.asset_events) for result in results] == [2, 0, 0, 0]
    assert [event.severity for event in kept.drift_events.list()] == [Severity.CRITICAL]
    actions = [entry.action for entry in kept.ledger.entries() if entry.action.startswith("drift_event")]
    assert actions == ["drift_event.open", "drift_event.escalate"]
    assert kept.ledger.verify().is_intact


def test_what_opens_or_gets_worse_alerts_once_in_the_same_transaction(kept: Stores):
    for times in (1.1, 1.15, 2.5, 1.6):
        _publish(kept, _feature("a", times))
    for cursor in (None, None, "2"):
        _tick(kept, cursor)
    (event,) = kept.drift_events.list()
    worse, opened = kept.alerts.list()
    assert [one.alert.key for one in (opened, worse)] == [f"drift:{event.id}:low", f"drift:{event.id}:critical"]
    assert (worse.alert.severity, worse.alert.summary) == (Severity.CRITICAL, event.message)
    assert (worse.alert.subject, worse.occurrences) == (f"{SUBJECT}:a:wasserstein", 1)
    actions = [entry.action for entry in kept.ledger.entries() if not entry.action.startswith("snapshot")]
    assert actions == ["drift_event.open", "alert.raise", "drift_event.escalate", "alert.raise"]
    assert [one.channel for one in worse.deliveries] == ["log"]


def test_a_feature_that_can_no_longer_be_measured_escalates_and_loses_its_numbers(kept: Stores):
    _publish(kept, _feature("a", 1.1))
    _publish(kept, FeatureDrift(feature="a", reason="the column is String"))
    _tick(kept, None)
    (event,) = kept.drift_events.list()
    assert (event.metric_name, event.severity) == ("a:not_measured", Severity.HIGH)
    assert (event.metric_value, event.threshold) == (None, None)


def test_an_acknowledged_event_is_open_again_when_the_drift_gets_worse(kept: Stores):
    _publish(kept, _feature("a", 1.1))
    _tick(kept, None)
    (event,) = kept.drift_events.list()
    kept.drift_events.acknowledge(event.id, actor="ann", note="watching it")
    _publish(kept, _feature("a", 1.2))
    _tick(kept, "1")
    assert kept.drift_events.get(event.id).status is Status.ACKNOWLEDGED
    _publish(kept, _feature("a", 1.6))
    _tick(kept, "2")
    assert kept.drift_events.get(event.id).status is Status.OPEN


def test_reading_what_was_resolved_again_opens_nothing(kept: Stores):
    for times in (1.1, 2.5):
        _publish(kept, _feature("a", times))
    _tick(kept, None)
    (event,) = kept.drift_events.list()
    kept.drift_events.resolve(event.id, actor="ann", note="retrained")
    assert len(_tick(kept, None).asset_events) == 0
    assert [one.status for one in kept.drift_events.list()] == [Status.RESOLVED]


def test_acknowledging_and_resolving_leave_who_and_why_in_the_ledger(kept: Stores):
    _publish(kept, _feature("a", 1.3))
    _tick(kept, None)
    (event,) = kept.drift_events.list()
    acknowledged = kept.drift_events.acknowledge(event.id, actor="ann", note="looking")
    resolved = kept.drift_events.resolve(event.id, actor="bob", note="retrained")
    assert (acknowledged.status, resolved.status) == (Status.ACKNOWLEDGED, Status.RESOLVED)
    assert kept.drift_events.get(event.id) == resolved
    moves = [
        (entry.action, entry.actor, entry.reason, entry.after)
        for entry in kept.ledger.entries(subject=f"{SUBJECT}:a:wasserstein")
        if entry.action.startswith("drift_event")
    ][1:]
    assert moves == [
        ("drift_event.acknowledge", "ann", "looking", event.id),
        ("drift_event.resolve", "bob", "retrained", event.id),
    ]


MOVES = {"acknowledge": acknowledge, "resolve": resolve}


@pytest.mark.parametrize(
    ("status", "verb", "after"),
    [
        (Status.OPEN, "acknowledge", Status.ACKNOWLEDGED),
        (Status.OPEN, "resolve", Status.RESOLVED),
        (Status.ACKNOWLEDGED, "resolve", Status.RESOLVED),
        (Status.ACKNOWLEDGED, "acknowledge", None),
        (Status.RESOLVED, "acknowledge", None),
        (Status.RESOLVED, "resolve", None),
    ],
)
def test_which_moves_a_state_allows(status: Status, verb: str, after: Status | None):
    event = event_for(_feature("a", 1.3), subject=SUBJECT, snapshot_fingerprint="a" * 64, at=NOW)
    assert event is not None
    start = replace(event, status=status)
    if after is None:
        with pytest.raises(Conflict, match=f"is {status}"):
            MOVES[verb](start, actor="ann", note="why")
        return
    moved, change = MOVES[verb](start, actor="ann", note="why")
    assert moved == replace(event, status=after)
    assert (change.action, change.actor, change.reason) == (f"drift_event.{verb}", "ann", "why")


def test_a_resolved_event_and_a_milder_finding_are_not_escalated():
    low, critical = (
        event_for(_feature("a", times), subject=SUBJECT, snapshot_fingerprint="a" * 64, at=NOW) for times in (1.1, 2.5)
    )
    assert low is not None
    assert critical is not None
    for event, seen in ((critical, low), (low, low), (replace(low, status=Status.RESOLVED), critical)):
        with pytest.raises(Conflict, match="drift event"):
            escalate(event, seen, actor="dagster")


def test_a_move_of_an_unknown_event_names_it(kept: Stores):
    for move in (kept.drift_events.acknowledge, kept.drift_events.resolve):
        with pytest.raises(NotFound, match="drift event 'x'"):
            move("x", actor="ann", note="")


def test_features_whose_names_look_alike_have_their_own_events(kept: Stores):
    _publish(kept, _feature("return_1d", 1.3))
    _tick(kept, None)
    _publish(kept, _feature("return_1d", 1.3), _feature("return_1", 1.4), _feature("returnx1d", 1.4))
    _tick(kept, "1")
    assert {event.metric_name for event in kept.drift_events.list()} == {
        "return_1d:wasserstein",
        "return_1:wasserstein",
        "returnx1d:wasserstein",
    }


def test_a_sensor_reads_oldest_first_and_only_so_many(kept: Stores):
    for number in range(12):
        _publish(kept, _feature("a", 0.1 + number / 100))
    assert _tick(kept, None).cursor == "10"
    assert _tick(kept, "10").cursor == "12"


def test_an_unknown_event_is_named(kept: Stores):
    with pytest.raises(NotFound, match="drift event 'x'"):
        kept.drift_events.get("x")
