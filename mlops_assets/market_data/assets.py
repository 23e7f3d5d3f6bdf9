"""The graph's first asset: daily bars, what was set aside beside them, and the checks that guard what is downstream."""
# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.ledger.store import Ledger
from mlops_assets.market_data import bars as bars_module
from mlops_assets.market_data import checks
from mlops_assets.market_data.automation import daily_ingestion
from mlops_assets.market_data.bars import BAR_COLUMNS, BARS, QUARANTINE, to_table, to_tables
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.ingestion import Ingestion, expected_last_session, ingest, schedule_of, source_key
from mlops_assets.market_data.knowledge import bar_details, read_held
from mlops_assets.market_data.plots import bars_figure
from mlops_assets.market_data.quarantine import QUARANTINE_COLUMNS
from mlops_assets.market_data.readings import record_reading
from mlops_assets.market_data.restatements import RESTATEMENT_COLUMNS, RESTATEMENTS, Revision, revise
from mlops_assets.market_data.sources import BarSource
from mlops_assets.market_data.validation import ErrorBudget
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import check_when_refreshed
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

OWNER = "team:data-engineering"
GROUP = "market_data"
_ROOM = "mlops_assets.market_data"
_RULES = (
    "alpha_vantage",
    "bars",
    "calendar",
    "csv_table",
    "folder",
    "ingestion",
    "knowledge",
    "quarantine",
    "reading",
    "restatements",
    "sample",
    "sources",
)
_ROWS_SHOWN = 20

# The longest stretch without a session that is normal: a weekend with a holiday on both sides.
_FRESH_FOR = timedelta(days=5)
_FAILS_AFTER = timedelta(days=8)


def bars_code_version(budget: ErrorBudget = ErrorBudget()) -> str:  # noqa: B008 - a frozen value
    """Return the version of the rules and columns that make `market/bars`."""
    declaration = fingerprint(
        {
            "columns": [asdict(column) for column in BAR_COLUMNS],
            "budget": {"max_share": budget.max_share, "max_count": budget.max_count},
        }
    )
    return code_version(declaration, *(f"{_ROOM}.{name}" for name in (*_RULES, "validation")))


def bars_definitions(budget: ErrorBudget = ErrorBudget()) -> dg.Definitions:  # noqa: B008 - a frozen value
    """Return the asset `market/bars` and its checks."""
    return dg.Definitions(assets=[_bars_asset(budget)], asset_checks=_bar_checks(), schedules=[daily_ingestion()])


def _bars_asset(budget: ErrorBudget) -> dg.AssetsDefinition:
    version = bars_code_version(budget)

    @dg.asset(
        key=key(BARS),
        group_name=GROUP,
        owners=[OWNER],
        kinds={"parquet"},
        code_version=version,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_FAILS_AFTER, warn_window=_FRESH_FOR),
        metadata=asset_metadata(file=Path(bars_module.__file__), columns=BAR_COLUMNS),
        description=(
            "Daily bars, one row per symbol and trading day, validated against the exchange's calendar. "
            f"Rows that are no bars are in the dataset {QUARANTINE} with their reason; values that a later reading "
            f"replaced are in {RESTATEMENTS}, so that the past can be asked as it was known."
        ),
    )
    def market_bars(
        context: dg.AssetExecutionContext,
        market: dg.ResourceParam[BarSource],
        snapshots: dg.ResourceParam[SnapshotStore],
        calendar: dg.ResourceParam[TradingCalendar],
        clock: dg.ResourceParam[Clock],
        database: dg.ResourceParam[Database],
        journal: dg.ResourceParam[Ledger],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        read = ingest(market, calendar, as_of=clock.now(), progress=context.log.info)
        provenance = Provenance(code_version=version, inputs=read.inputs)
        # First, and also when the budget is exceeded: the rows that stop a run are what somebody has to read.
        set_aside = to_table(read.validation.quarantined, QUARANTINE_COLUMNS)
        quarantine = snapshots.publish(QUARANTINE, set_aside, provenance=provenance, actor=actor.name)
        budget.enforce(read.validation, source=market.name)
        revision = revise(read.bars, read_held(snapshots, source_key(read.source)), read_at=read.read_at)
        # Before the bars: killed in between, the rows that the bars are about to lose are safe.
        superseded = to_table(revision.superseded, RESTATEMENT_COLUMNS)
        restatements = snapshots.publish(RESTATEMENTS, superseded, provenance=provenance, actor=actor.name)
        failpoint("bars.restated")
        known = replace(provenance, details=bar_details(market.publication_lag, restatements))
        bars = to_tables(revision.bars, BAR_COLUMNS)
        published = snapshots.publish(BARS, bars, provenance=known, actor=actor.name)
        if market.fingerprint() is None:
            record_reading(
                published,
                source=read.source,
                read_at=read.read_at,
                database=database,
                journal=journal,
                actor=actor.name,
            )
        return snapshot_result(
            published,
            source=market.description,
            quarantine_snapshot=quarantine.id,
            restatements_snapshot=restatements.id,
            **_ingestion_metadata(read),
            **_revision_metadata(revision),
        )

    return market_bars


def _ingestion_metadata(read: Ingestion) -> dict[str, Any]:
    """Say what was read, what was accepted, what was set aside and what looks odd."""
    bars, validation = read.bars, read.validation
    return {
        "source_name": read.source,
        "source_fingerprint": read.source_fingerprint,
        "symbol_count": bars["symbol"].n_unique(),
        "symbols": ", ".join(bars["symbol"].unique().sort()),
        "first_date": str(bars["date"].min()),
        "last_date": str(bars["date"].max()),
        "rows_read": validation.row_count,
        "rows_quarantined": validation.quarantined.height,
        "quarantined_by_reason": dg.MetadataValue.json(validation.reasons),
        "identical_duplicates_dropped": validation.identical_duplicates,
        "gaps": validation.gaps.height,
        "suspicions": validation.suspicions.height,
        "suspicious_rows": _markdown(validation.suspicions),
        "plot": plot_metadata(bars_figure(bars)),
    }


def _revision_metadata(revision: Revision) -> dict[str, Any]:
    """Say what this reading changed of what was known."""
    return {
        "rows_restated": revision.restated,
        "rows_late": revision.late,
        "rows_rebased": revision.rebased,
        "rows_vanished": revision.vanished.height,
        "vanished_rows": _markdown(revision.vanished),
        "rows_superseded_in_all": revision.superseded.height,
    }


def _markdown(rows: pl.DataFrame) -> dg.MarkdownMetadataValue:
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows.head(_ROWS_SHOWN).iter_rows()]
    head = [f"| {' | '.join(rows.columns)} |", f"|{' --- |' * rows.width}"]
    return dg.MetadataValue.md("\n".join([*head, *lines]) if lines else "none")


def _bar_checks() -> list[dg.AssetChecksDefinition]:
    @dg.asset_check(
        asset=key(BARS),
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="Every symbol has at most one bar a day; otherwise nothing is built.",
    )
    def no_duplicate_keys(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        return _result(checks.no_duplicate_keys(_stored(snapshots)), dg.AssetCheckSeverity.ERROR)

    @dg.asset_check(
        asset=key(BARS),
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="Stored prices are finite and positive, and no high is below its low; otherwise nothing is built.",
    )
    def prices_are_valid(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        return _result(checks.prices_are_valid(_stored(snapshots)), dg.AssetCheckSeverity.ERROR)

    @dg.asset_check(
        asset=key(BARS),
        automation_condition=check_when_refreshed(),
        description=(
            "Every symbol reaches the last session its source should have published by now. A source with a closed "
            "history, such as the bundled sample, is judged against its own end."
        ),
    )
    def latest_trading_day_present(
        snapshots: dg.ResourceParam[SnapshotStore],
        market: dg.ResourceParam[BarSource],
        calendar: dg.ResourceParam[TradingCalendar],
        clock: dg.ResourceParam[Clock],
    ) -> dg.AssetCheckResult:
        ends = market.history_ends()
        lag = market.publication_lag
        expected = expected_last_session(calendar, at=clock.now(), publication_lag=lag, history_ends=ends)
        finding = checks.latest_trading_day_present(_stored(snapshots), expected=expected, history_ends=ends)
        return _result(finding, dg.AssetCheckSeverity.WARN)

    @dg.asset_check(
        asset=key(BARS),
        automation_condition=check_when_refreshed(),
        description="Every symbol has a bar for each session of the exchange between its first and its last bar.",
    )
    def complete_against_calendar(
        snapshots: dg.ResourceParam[SnapshotStore],
        calendar: dg.ResourceParam[TradingCalendar],
        clock: dg.ResourceParam[Clock],
    ) -> dg.AssetCheckResult:
        stored = _stored(snapshots)
        finding = checks.complete_against_calendar(stored, schedule_of(calendar, stored["date"], clock.now()))
        return _result(finding, dg.AssetCheckSeverity.WARN)

    return [no_duplicate_keys, prices_are_valid, latest_trading_day_present, complete_against_calendar]


def _stored(snapshots: SnapshotStore) -> pl.DataFrame:
    columns = [column.name for column in BAR_COLUMNS if column.name not in {"event_at", "known_at"}]
    return snapshots.frame(snapshots.head(BARS), columns)


def _result(finding: checks.Finding, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.is_passed, severity=severity, description=finding.words, metadata=dict(finding.numbers)
    )
