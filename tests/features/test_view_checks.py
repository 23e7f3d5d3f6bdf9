from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster_duckdb import DuckDBResource

from mlops_assets.features.assets import feature_view_definitions, training_set_definitions
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import Feature, FeatureView, TrainingSet
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.orchestration.declared import key
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.features.bars import sessions, walk

COUNT = 160
DAYS = sessions(COUNT)
PRICE = pl.col("adjusted_close")


def column(name: str, expr: pl.Expr, **more: Any) -> Feature:
    return Feature(name=name, expr=expr, description="A column of a test.", **more)


VIEW = FeatureView(
    name="pace",
    version="1.0.0",
    owner="team:quant",
    description="A view of a test.",
    columns=(
        column("return_1d", PRICE / PRICE.shift(1) - 1, minimum=-1.0),
        column("mean_10d", PRICE.rolling_mean(10), minimum=0.0),
        column("traded", pl.col("volume").cast(pl.Float64)),
        column("mood", pl.when(PRICE.shift(1) < PRICE).then(pl.lit("up")).otherwise(pl.lit("down")), type="string"),
    ),
    warm_up_bars=10,
    declared_in=Path(__file__),
)
LEAKING = replace(VIEW, columns=(*VIEW.columns, column("tomorrow", PRICE.shift(-1))))
SET = TrainingSet.from_mapping(
    {
        "name": "pace_daily",
        "owner": "team:quant",
        "description": "A set of a test.",
        "features": ["pace.return_1d", "pace.mean_10d"],
        "label": {"horizon_sessions": 3},
        "folds": {"train_until": DAYS[79].isoformat(), "valid_until": DAYS[119].isoformat(), "embargo_sessions": 2},
    },
    Path("models/pace.yaml"),
)


@dataclass(frozen=True)
class Source:
    """A closed history that ends with its last bar."""

    name: str = "test"
    publication_lag: timedelta = timedelta(hours=1)
    ends: date = DAYS[-1]

    def history_ends(self) -> date:
        return self.ends


@dataclass
class Home:
    path: Path
    snapshots: SnapshotStore
    registry: FeatureRegistry
    clock: FixedClock
    ledger: Ledger
    source: Source = field(default_factory=Source)

    def publish_bars(self, bars: pl.DataFrame) -> Snapshot:
        provenance = Provenance(code_version="1", inputs={})
        return self.snapshots.publish("market/bars", bars.to_arrow(), provenance=provenance, actor="test")

    def run(self, *definitions: dg.Definitions, only: dg.AssetSelection | None = None) -> dg.ExecuteInProcessResult:
        merged = [one for part in definitions for one in (*(part.assets or ()), *(part.asset_checks or ()))]
        views = [VIEW]
        return dg.materialize(
            merged,
            selection=only,
            resources={
                "snapshots": self.snapshots,
                "warehouse": Warehouse(self.path / "platform.duckdb", self.snapshots, views),
                "duckdb": DuckDBResource(database=str(self.path / "platform.duckdb")),
                "feature_registry": self.registry,
                "feature_releases": ReleaseFolder(self.path / "released"),
                "actor": Principal(name="dagster", roles=frozenset({Role.SERVICE})),
                "clock": self.clock,
                "calendar": TradingCalendar(),
                "market": self.source,
            },
            raise_on_error=False,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    clock = FixedClock(at=datetime(2026, 1, 5, 12, tzinfo=UTC))
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    database.migrate()
    ledger = Ledger(database, clock)
    snapshots = SnapshotStore(tmp_path / "snapshots", database, ledger, clock)
    return Home(tmp_path, snapshots, FeatureRegistry(database, ledger, clock), clock, ledger)


def bars(**changes: pl.Expr) -> pl.DataFrame:
    made = walk(("AAA", "BBB", "CCC"), count=COUNT)
    return made.with_columns(volume=pl.lit(None, pl.Int64)).with_columns(**changes)


def results(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in run.get_asset_check_evaluations()}


def failed(run: dg.ExecuteInProcessResult) -> set[str]:
    return {name for name, one in results(run).items() if not one.passed}


BLOCKING = {"look_ahead", "schema_as_declared", "keys_unique", "values_in_range"}
WARNING = {
    "latest_session_present",
    "complete_against_bars",
    "filled_after_warm_up",
    "rows_per_session_usual",
    "traded_volume_usual",
    "inputs_available",
    "past_is_kept",
    "served_by_duckdb",
    "online_equals_offline",
}


def test_a_good_view_passes_and_says_which_column_the_source_cannot_feed(home: Home):
    home.publish_bars(bars())
    run = home.run(feature_view_definitions(VIEW, {}))
    assert run.success
    assert set(results(run)) == BLOCKING | WARNING
    assert failed(run) == {"inputs_available"}
    said = results(run)["inputs_available"]
    assert said.severity == dg.AssetCheckSeverity.WARN
    assert "traded needs volume" in str(said.description)


def test_only_what_makes_a_snapshot_unusable_blocks():
    specs = {one.name: one for check in feature_view_definitions(VIEW, {}).asset_checks for one in check.check_specs}
    assert {name for name, one in specs.items() if one.blocking} == BLOCKING
    assert all(one.automation_condition is not None for one in specs.values())


def test_the_certificate_is_kept_with_version_snapshot_and_bars(home: Home):
    published_bars = home.publish_bars(bars())
    run = home.run(feature_view_definitions(VIEW, {}))
    head = home.snapshots.head("features/pace")
    kept = home.registry.certificate_of("pace", head.fingerprint)
    assert kept is not None
    assert (kept.version, kept.bars_fingerprint, kept.is_clean) == ("1.0.0", published_bars.fingerprint, True)
    metadata = results(run)["look_ahead"].metadata
    assert list(kept.cuts) == metadata["cuts"].value
    assert kept.rows_compared == metadata["rows_compared"].value > 3 * COUNT
    assert home.ledger.verify().is_intact


def test_a_view_that_peeks_is_blocked_and_its_column_named(home: Home):
    home.publish_bars(bars())
    below = TrainingSet.from_mapping(
        {
            "name": "pace_daily",
            "owner": "team:quant",
            "description": "A set of a test.",
            "features": ["pace.tomorrow"],
            "label": {"horizon_sessions": 3},
            "folds": {"train_until": DAYS[79].isoformat(), "valid_until": DAYS[119].isoformat(), "embargo_sessions": 2},
        },
        Path("models/pace.yaml"),
    )
    run = home.run(feature_view_definitions(LEAKING, {}), training_set_definitions(below, {"pace": LEAKING}))
    assert not run.success
    assert "look_ahead" in failed(run)
    assert "pace.tomorrow of AAA" in str(results(run)["look_ahead"].description)
    assert home.snapshots.find_head("datasets/pace_daily") is None
    kept = home.registry.certificate_of("pace", home.snapshots.head("features/pace").fingerprint)
    assert kept is not None
    assert not kept.is_clean


def test_a_snapshot_that_somebody_changed_fails_what_it_breaks(home: Home):
    home.publish_bars(bars())
    home.run(feature_view_definitions(VIEW, {}))
    head = home.snapshots.head("features/pace")
    rows = pl.DataFrame(pl.from_arrow(home.snapshots.read(head)))
    last = pl.col("date") == DAYS[-1]
    changed = rows.filter(~((pl.col("symbol") == "CCC") & last)).with_columns(
        return_1d=pl.when(last).then(-2.0).otherwise("return_1d"),
        mean_10d=pl.when(pl.col("date") > DAYS[20]).then(None).otherwise("mean_10d"),
    )
    provenance = Provenance(code_version=head.code_version, inputs=head.inputs, details=head.details)
    home.snapshots.publish("features/pace", changed.to_arrow(), provenance=provenance, actor="mallory")
    run = home.run(feature_view_definitions(VIEW, {}), only=dg.AssetSelection.checks_for_assets(key("features/pace")))
    assert failed(run) == {
        "look_ahead",
        "values_in_range",
        "latest_session_present",
        "complete_against_bars",
        "filled_after_warm_up",
        "past_is_kept",
        "served_by_duckdb",
        "inputs_available",
    }
    said = {name: str(one.description) for name, one in results(run).items()}
    assert said["complete_against_bars"] == f"bars without a row: CCC {DAYS[-1]}"
    assert "return_1d: 2 rows from -2 to -2" in said["values_in_range"]
    assert "mean_10d 9" in said["filled_after_warm_up"]
    assert f"gone: CCC {DAYS[-1]}" in said["past_is_kept"]


def test_another_schema_is_named_and_nothing_else_is_judged(home: Home):
    home.publish_bars(bars())
    home.run(feature_view_definitions(VIEW, {}))
    wider = replace(VIEW, columns=(*VIEW.columns, column("more", PRICE)))
    only = dg.AssetSelection.checks_for_assets(key("features/pace")) - dg.AssetSelection.checks(
        dg.AssetCheckKey(key("features/pace"), "look_ahead")
    )
    run = home.run(feature_view_definitions(wider, {}), only=only)
    assert "schema_as_declared" in failed(run)
    assert str(results(run)["schema_as_declared"].description) == "more is missing"
    assert "not judged" in str(results(run)["values_in_range"].description)


def test_a_view_behind_its_source_is_late(home: Home):
    home.publish_bars(bars())
    home.source = Source(ends=DAYS[-1] + timedelta(days=30))
    run = home.run(feature_view_definitions(VIEW, {}))
    assert "latest_session_present" in failed(run)


def test_a_day_with_few_stocks_and_a_day_with_little_trade_are_unusual(home: Home):
    symbols = tuple(f"S{number:02}" for number in range(20))
    made = walk(symbols, count=COUNT).with_columns(volume=pl.lit(1_000_000, pl.Int64))
    thin = (pl.col("date") == DAYS[150]) & pl.col("symbol").is_in(symbols[:8])
    quiet = pl.col("date") == DAYS[155]
    made = made.filter(~thin).with_columns(volume=pl.when(quiet).then(10).otherwise("volume"))
    home.publish_bars(made)
    run = home.run(feature_view_definitions(VIEW, {}))
    assert failed(run) == {"rows_per_session_usual", "traded_volume_usual"}
    assert f"12 on {DAYS[150]}, usual 20" in str(results(run)["rows_per_session_usual"].description)
    assert str(DAYS[155]) in str(results(run)["traded_volume_usual"].description)


def test_one_check_can_be_run_alone(home: Home):
    home.publish_bars(bars())
    home.run(feature_view_definitions(VIEW, {}))
    only = dg.AssetSelection.checks(dg.AssetCheckKey(key("features/pace"), "keys_unique"))
    assert set(results(home.run(feature_view_definitions(VIEW, {}), only=only))) == {"keys_unique"}


def test_a_training_set_is_proven_from_the_snapshots_it_names(home: Home):
    home.publish_bars(bars())
    run = home.run(feature_view_definitions(VIEW, {}), training_set_definitions(SET, {"pace": VIEW}))
    assert run.success
    proof = results(run)["nothing_known_later"]
    assert proof.passed
    assert proof.metadata["rows_traced"].value == 3 * COUNT
    assert proof.metadata["rows_compared"].value > 3 * COUNT
    assert proof.metadata["snapshots_used"].value == ["market/bars@1", "features/pace@1"]


def test_a_training_set_somebody_changed_is_blocked(home: Home):
    home.publish_bars(bars())
    home.run(feature_view_definitions(VIEW, {}), training_set_definitions(SET, {"pace": VIEW}))
    head = home.snapshots.head("datasets/pace_daily")
    rows = pl.DataFrame(pl.from_arrow(home.snapshots.read(head)))
    peeking = rows.with_columns(return_1d=pl.col("return_1d").shift(-1).over("symbol"))
    provenance = Provenance(code_version=head.code_version, inputs=head.inputs, details=head.details)
    home.snapshots.publish("datasets/pace_daily", peeking.to_arrow(), provenance=provenance, actor="mallory")
    only = dg.AssetSelection.checks_for_assets(key("datasets/pace_daily"))
    run = home.run(training_set_definitions(SET, {"pace": VIEW}), only=only)
    assert failed(run) == {"nothing_known_later"}
    assert "pace.return_1d of AAA" in str(results(run)["nothing_known_later"].description)


def test_a_training_set_over_stale_views_is_told_to_be_made_again(home: Home):
    home.publish_bars(bars().filter(pl.col("date") < DAYS[-1]))
    home.run(feature_view_definitions(VIEW, {}))
    home.publish_bars(bars())
    run = home.run(training_set_definitions(SET, {"pace": VIEW}))
    assert "features/pace@1 was made from market/bars@1" in str(results(run)["nothing_known_later"].description)


def test_a_feature_the_source_cannot_feed_stops_the_set_before_anything_is_published(home: Home):
    home.publish_bars(bars())
    content = {
        "name": "pace_daily",
        "owner": "team:quant",
        "description": "A set of a test.",
        "features": ["pace.return_1d", "pace.traded"],
        "label": {"horizon_sessions": 3},
        "folds": {"train_until": DAYS[79].isoformat(), "valid_until": DAYS[119].isoformat(), "embargo_sessions": 2},
    }
    spec = TrainingSet.from_mapping(content, Path("models/pace.yaml"))
    run = home.run(feature_view_definitions(VIEW, {}), training_set_definitions(spec, {"pace": VIEW}))
    (failure,) = run.get_step_failure_events()
    said = str(failure.event_specific_data)
    assert "pace.traded has no value, because the source has no volume" in said
    assert "leave pace.traded out of training_set.features" in said
    assert home.snapshots.find_head("datasets/pace_daily") is None
