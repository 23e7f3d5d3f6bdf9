from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.market_data.assets import bars_code_version, bars_definitions
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.market_data.ingestion import bars_are_current
from mlops_assets.market_data.knowledge import read_knowledge
from mlops_assets.market_data.readings import last_reading
from mlops_assets.market_data.sample import BundledSample
from mlops_assets.market_data.validation import ErrorBudget, SourceOverErrorBudget
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database

CLOCK = FixedClock(at=datetime(2020, 1, 7, 23, 0, tzinfo=UTC))
KEY = dg.AssetKey(["market", "bars"])
GENEROUS = ErrorBudget(max_share=0.5)
GOOD = """date,adjusted_close
2020-01-02,10.0
2020-01-03,11.0
2020-01-06,12.0
2020-01-07,13.0
"""


@pytest.fixture
def snapshots(tmp_path) -> SnapshotStore:
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    database.migrate()
    return SnapshotStore(tmp_path / "snapshots", database, Ledger(database, CLOCK), CLOCK)


@pytest.fixture
def folder(tmp_path) -> BarFolder:
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "AAA.csv").write_text(GOOD)
    return BarFolder(tmp_path / "bars", index_symbols=["IDX"])


def ledger_of(snapshots) -> Ledger:
    return Ledger(Database(f"sqlite:///{snapshots.root.parent / 'platform.db'}"), CLOCK)


def run(market, snapshots, budget=GENEROUS, clock=CLOCK, is_checked=True):
    database = Database(f"sqlite:///{snapshots.root.parent / 'platform.db'}")
    definitions = bars_definitions(budget)
    assets = [*definitions.assets, *(definitions.asset_checks if is_checked else [])]
    resources = {
        "market": market,
        "snapshots": snapshots,
        "database": database,
        "journal": Ledger(database, CLOCK),
        "calendar": TradingCalendar(),
        "clock": clock,
        "actor": Principal(name="dagster", roles=frozenset({Role.SERVICE})),
    }
    return dg.materialize(assets, resources=resources, raise_on_error=False)


def metadata_of(result) -> dict:
    (event,) = result.asset_materializations_for_node("market__bars")
    return {name: value.value for name, value in event.metadata.items()}


def checks_of(result) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def add(folder, name, content):
    (folder.path / name).write_text(content)


def test_bars_are_published_with_their_source_as_input_and_the_facts_as_metadata(folder, snapshots):
    result = run(folder, snapshots)
    assert result.success
    head = snapshots.head("market/bars")
    assert head.inputs == {"source/folder": folder.fingerprint()}
    assert head.code_version == bars_code_version(GENEROUS)
    metadata = metadata_of(result)
    expected = {
        "dagster/row_count": 4,
        "fingerprint": head.fingerprint,
        "source_name": "folder",
        "source_fingerprint": folder.fingerprint(),
        "symbols": "AAA",
        "symbol_count": 1,
        "first_date": "2020-01-02",
        "last_date": "2020-01-07",
        "rows_quarantined": 0,
        "gaps": 0,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["plot"].startswith("![plot](data:image/png;base64,")


def test_all_checks_of_good_bars_pass(folder, snapshots):
    assert checks_of(run(folder, snapshots)) == {
        "no_duplicate_keys": True,
        "prices_are_valid": True,
        "latest_trading_day_present": True,
        "complete_against_calendar": True,
    }


def test_bad_rows_wait_in_the_quarantine_with_their_reason(folder, snapshots):
    add(folder, "BBB.csv", "date,adjusted_close\n2020-01-02,-1\n2020-01-04,5\n2020-01-07,5\n")
    result = run(folder, snapshots)
    assert result.success
    assert metadata_of(result)["quarantined_by_reason"] == {"not_positive": 1, "not_a_session": 1}
    stored = pl.DataFrame(snapshots.read(snapshots.head("market/quarantine")))
    assert stored.select("reason", "origin", "origin_row", "symbol").rows() == [
        ("not_positive", "BBB.csv", 2, "BBB"),
        ("not_a_session", "BBB.csv", 3, "BBB"),
    ]


def test_over_the_error_budget_the_run_fails_the_old_bars_stay_and_the_bad_rows_can_be_read(folder, snapshots):
    run(folder, snapshots)
    before = snapshots.head("market/bars")
    add(folder, "BBB.csv", "date,adjusted_close\n" + "2020-01-04,5\n" * 1 + "2020-01-05,nan\n2020-01-02T00:00:00,5\n")
    result = run(folder, snapshots, ErrorBudget(max_share=0.1))
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
    assert SourceOverErrorBudget.__name__ in failure.cls_name or "SourceOverErrorBudget" in str(failure)
    assert "3 of 7 rows" in str(failure)
    assert snapshots.head("market/bars") == before
    assert snapshots.head("market/quarantine").row_count == 3


def test_a_stale_live_source_and_a_gap_are_warnings(folder, snapshots):
    add(folder, "AAA.csv", "date,adjusted_close\n2020-01-02,10\n2020-01-06,11\n")
    result = run(folder, snapshots)
    assert result.success
    assert checks_of(result) == {
        "no_duplicate_keys": True,
        "prices_are_valid": True,
        "latest_trading_day_present": False,
        "complete_against_calendar": False,
    }
    severities = {one.severity for one in result.get_asset_check_evaluations() if not one.passed}
    assert severities == {dg.AssetCheckSeverity.WARN}


def test_a_second_run_over_the_same_source_publishes_nothing_new(folder, snapshots):
    run(folder, snapshots)
    run(folder, snapshots, clock=FixedClock(at=datetime(2020, 1, 20, tzinfo=UTC)))
    assert [one.version for one in snapshots.history("market/bars")] == [1]
    assert [one.version for one in snapshots.history("market/quarantine")] == [1]


def is_current(market, snapshots, version, at=CLOCK.at):
    return bars_are_current(snapshots, ledger_of(snapshots), market, version, calendar=TradingCalendar(), at=at)


def test_bars_are_current_until_the_source_or_the_code_moves(folder, snapshots):
    version = bars_code_version(GENEROUS)
    assert not is_current(folder, snapshots, version)
    run(folder, snapshots)
    assert is_current(folder, snapshots, version)
    assert not is_current(folder, snapshots, "another version")
    assert not is_current(BundledSample(), snapshots, version)
    add(folder, "AAA.csv", GOOD.replace("13.0", "13.5"))
    assert not is_current(folder, snapshots, version)


class Vendor(BarFolder):
    """Can't tell its content without a call."""

    def fingerprint(self) -> None:
        return None


def test_a_source_that_needs_a_call_is_current_until_it_publishes_the_next_session(folder, snapshots):
    version, vendor = bars_code_version(GENEROUS), Vendor(folder.path)
    run(vendor, snapshots)
    assert is_current(vendor, snapshots, version, at=CLOCK.at)
    assert is_current(vendor, snapshots, version, at=datetime(2020, 1, 8, 21, 59, tzinfo=UTC))
    assert not is_current(vendor, snapshots, version, at=datetime(2020, 1, 8, 22, 1, tzinfo=UTC))


def test_a_reading_that_found_nothing_new_counts_too(folder, snapshots):
    version, vendor = bars_code_version(GENEROUS), Vendor(folder.path)
    run(vendor, snapshots)
    before, published = snapshots.head("market/bars"), datetime(2020, 1, 8, 22, 0, tzinfo=UTC)
    early = published - timedelta(seconds=1)  # a reading that began before the vendor published may lack the day
    run(vendor, snapshots, clock=FixedClock(at=early))
    assert not is_current(vendor, snapshots, version, at=published + timedelta(minutes=2))
    run(vendor, snapshots, clock=FixedClock(at=published + timedelta(minutes=1)))
    assert is_current(vendor, snapshots, version, at=published + timedelta(minutes=2))
    assert not is_current(vendor, snapshots, version, at=published + timedelta(days=1, minutes=2))
    assert snapshots.head("market/bars") == before


def test_a_reading_is_in_the_ledger_only_where_nothing_else_tells_that_it_was_made(folder, snapshots):
    run(folder, snapshots)
    assert list(ledger_of(snapshots).entries(action="bars.read")) == []
    run(Vendor(folder.path, index_symbols=folder.index_symbols), snapshots)
    (entry,) = ledger_of(snapshots).entries(action="bars.read")
    assert (entry.subject, entry.actor) == ("market/bars@1", "dagster")
    assert entry.details["read_at"] == CLOCK.at.isoformat()
    assert ledger_of(snapshots).verify().is_intact


def test_a_reading_of_earlier_bars_says_nothing_of_later_ones(folder, snapshots):
    run(Vendor(folder.path), snapshots, clock=FixedClock(at=CLOCK.at + timedelta(days=1)))
    earlier = snapshots.head("market/bars")
    add(folder, "AAA.csv", GOOD.replace("13.0", "13.5"))
    run(Vendor(folder.path), snapshots)
    assert last_reading(ledger_of(snapshots), earlier) == CLOCK.at + timedelta(days=1)
    assert last_reading(ledger_of(snapshots), snapshots.head("market/bars")) == CLOCK.at


def test_an_edited_file_leaves_the_old_row_among_the_restatements(folder, snapshots):
    run(folder, snapshots)
    add(folder, "AAA.csv", GOOD.replace("11.0", "11.5"))
    later = FixedClock(at=CLOCK.at + timedelta(hours=2))
    result = run(folder, snapshots, clock=later)
    assert metadata_of(result)["rows_restated"] == 1
    rows = read_knowledge(snapshots).rows.filter(pl.col("date") == date(2020, 1, 3))
    promised = datetime(2020, 1, 3, 22, tzinfo=UTC)
    assert rows.select("adjusted_close", "known_at", "superseded_at").rows() == [
        (11.0, promised, later.at),
        (11.5, later.at, None),
    ]
    before = snapshots.head("market/bars")
    run(folder, snapshots, clock=FixedClock(at=CLOCK.at + timedelta(hours=5)))
    assert snapshots.head("market/bars") == before
    assert is_current(folder, snapshots, bars_code_version(GENEROUS))


def test_a_bar_that_the_source_no_longer_has_is_named_and_kept(folder, snapshots):
    run(folder, snapshots)
    add(folder, "AAA.csv", GOOD.replace("2020-01-03,11.0\n", ""))
    metadata = metadata_of(run(folder, snapshots, clock=FixedClock(at=CLOCK.at + timedelta(hours=2))))
    assert metadata["rows_vanished"] == 1
    assert "| AAA | 2020-01-03 |" in metadata["vanished_rows"]
    assert snapshots.head("market/bars").row_count == 3
    assert read_knowledge(snapshots).rows.height == 4


def test_another_source_begins_a_history_of_its_own(folder, snapshots):
    run(folder, snapshots)
    other = Other(folder.path)
    add(folder, "AAA.csv", GOOD.replace("11.0", "11.5"))
    run(other, snapshots, clock=FixedClock(at=CLOCK.at + timedelta(hours=2)))
    rows = read_knowledge(snapshots).rows
    assert rows["superseded_at"].null_count() == rows.height == 4
    assert (rows["known_at"] - rows["event_at"]).unique().to_list() == [timedelta(hours=1)]


class Other(BarFolder):
    """The same files from elsewhere."""

    name = "other"


def test_damaged_bars_are_mended_by_reading_again(folder, snapshots):
    run(folder, snapshots)
    published = snapshots.head("market/bars")
    (path,) = snapshots.paths(published)
    path.write_bytes(b"damaged")
    run(folder, snapshots, clock=FixedClock(at=CLOCK.at + timedelta(hours=2)))
    assert snapshots.head("market/bars") == published
    assert snapshots.read(published).num_rows == 4


def test_the_sample_gives_the_same_fingerprint_in_two_stores_and_passes_all_checks(tmp_path):
    now = FixedClock(at=datetime(2024, 5, 1, tzinfo=UTC))
    fingerprints = set()
    for name in ("one", "other"):
        database = Database(f"sqlite:///{tmp_path / name / 'platform.db'}")
        database.migrate()
        store = SnapshotStore(tmp_path / name / "snapshots", database, Ledger(database, now), now)
        result = run(BundledSample(), store, ErrorBudget(), now)
        assert result.success
        assert all(checks_of(result).values())
        fingerprints.add(store.head("market/bars").fingerprint)
    assert len(fingerprints) == 1


def test_the_asset_says_what_it_is():
    (bars,) = bars_definitions().assets
    spec = bars.specs_by_key[KEY]
    assert (spec.group_name, spec.owners, spec.kinds) == ("market_data", ["team:data-engineering"], {"parquet"})
    assert spec.code_version == bars_code_version()
    assert spec.freshness_policy is not None
    assert [column.name for column in spec.metadata["dagster/column_schema"].columns][:2] == ["symbol", "date"]


def test_only_broken_keys_and_prices_block_what_is_downstream():
    specs = {spec.name: spec.blocking for check in bars_definitions().asset_checks for spec in check.check_specs}
    assert specs == {
        "no_duplicate_keys": True,
        "prices_are_valid": True,
        "latest_trading_day_present": False,
        "complete_against_calendar": False,
    }
