from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.errors import NotFound
from mlops_assets.lifecycle.automation import drift_sensor
from mlops_assets.lifecycle.drift import DriftResult, FeatureDrift, Score, Statistic, as_table
from mlops_assets.lifecycle.drift_events import Severity, Status, severity_of
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from mlops_assets.storage.sql.tables import drift_event
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
    _publish(kept, _feature("a", 1.6))
    _tick(kept, "1")
    (only,) = kept.drift_events.list(status=Status.OPEN)
    with kept.database.begin() as connection:
        connection.execute(sa.update(drift_event).values(status=Status.RESOLVED))
    _publish(kept, _feature("a", 2.1))
    _tick(kept, "2")
    again = kept.drift_events.list(status=Status.OPEN)
    assert [event.severity for event in again] == [Severity.CRITICAL]
    assert again[0].id != only.id


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
