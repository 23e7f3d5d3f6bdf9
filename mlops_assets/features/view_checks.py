"""What is checked of a published feature view: it does not peek, and is whole, usual, kept, and served as published."""
# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import dagster as dg
import polars as pl
from dagster_duckdb import DuckDBResource

from mlops_assets.features import quality
from mlops_assets.features.activation import schema_differences
from mlops_assets.features.freezing import version_of
from mlops_assets.features.knowledge import latest_known
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.online import skew
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import ReleaseFolder, is_older_major
from mlops_assets.features.versions.serving import view_to_compute
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.identity import Principal
from mlops_assets.market_data import checks as bar_checks
from mlops_assets.market_data.bars import BARS
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.checks import Finding
from mlops_assets.market_data.ingestion import expected_last_session
from mlops_assets.market_data.knowledge import read_knowledge
from mlops_assets.market_data.sources import BarSource
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.timing import check_when_refreshed
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

_SKEW_INSTANTS = 5
_SHOWN_PEEKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A check of a view, whether it blocks what is downstream, and how it judges."""

    name: str
    description: str
    is_blocking: bool
    judge: "Callable[[_Published], Finding]"

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.ERROR if self.is_blocking else dg.AssetCheckSeverity.WARN


class _Published:
    """A view's snapshot and what it is held against, each read when it is first needed."""

    def __init__(
        self,
        view: FeatureView,
        views: Mapping[str, FeatureView],
        *,
        snapshots: SnapshotStore,
        duckdb: DuckDBResource,
        market: BarSource,
        calendar: TradingCalendar,
        clock: Clock,
    ) -> None:
        self.view, self.views = view, views
        self.snapshots, self.duckdb = snapshots, duckdb
        self.market, self.calendar, self.clock = market, calendar, clock
        self.snapshot = snapshots.head(view.dataset)

    @cached_property
    def rows(self) -> pl.DataFrame:
        return self.snapshots.frame(self.snapshot)

    @cached_property
    def latest(self) -> pl.DataFrame:
        return latest_known(self.rows)

    @cached_property
    def bars(self) -> pl.DataFrame:
        """Every version of the bars it was made from."""
        return read_knowledge(self.snapshots, bars_behind(self.snapshots, self.snapshot)).rows

    @property
    def lacking(self) -> Mapping[str, Sequence[str]]:
        found = self.snapshot.details.get("unavailable")
        return found if isinstance(found, Mapping) else {}  # pyright: ignore[reportReturnType] - written by the view

    @property
    def before(self) -> Snapshot | None:
        """The snapshot before, if the same code made it."""
        if self.snapshot.parent is None:
            return None
        parent = self.snapshots.get(self.snapshot.dataset, self.snapshot.parent)
        return parent if parent.code_version == self.snapshot.code_version else None


def view_checks(view: FeatureView, views: Mapping[str, FeatureView]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a view; `views` are those it may read, by name."""
    return [_look_ahead(view, views), _qualities(view, views)]


def bars_behind(snapshots: SnapshotStore, published: Snapshot) -> Snapshot:
    """Return the version of the bars that a snapshot was made from; the head if it does not say."""
    made_from = published.details.get("made_from")
    version = made_from.get(BARS) if isinstance(made_from, Mapping) else None
    return snapshots.get(BARS, version) if isinstance(version, int) else snapshots.head(BARS)


def _look_ahead(view: FeatureView, views: Mapping[str, FeatureView]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key(view.dataset),
        automation_condition=check_when_refreshed(),
        blocking=True,
        description=(
            "What was published of the past is what the bars known then give. Evidence over the cuts tried, kept with "
            "the snapshot; no proof for all others."
        ),
    )
    def look_ahead(
        snapshots: dg.ResourceParam[SnapshotStore],
        feature_registry: dg.ResourceParam[FeatureRegistry],
        feature_releases: dg.ResourceParam[ReleaseFolder],
        actor: dg.ResourceParam[Principal],
    ) -> dg.AssetCheckResult:
        head = snapshots.head(view.dataset)
        computed = view_to_compute(view, views, registry=feature_registry, releases=feature_releases)
        if (version := version_of(head, view)) != computed.version:
            return _not_its_own(computed, head, version)
        bars = bars_behind(snapshots, head)
        certificate = certify(
            computed,
            read_knowledge(snapshots, bars).rows,
            views,
            published=snapshots.frame(head),
            seed=int(head.fingerprint[:8], 16),
        )
        cuts = [cut.date.isoformat() for cut in certificate.cuts]
        peeks = [str(peek) for peek in certificate.peeks[:_SHOWN_PEEKS]]
        feature_registry.record_certificate(
            view=computed.name,
            version=computed.version,
            snapshot_fingerprint=head.fingerprint,
            bars_fingerprint=bars.fingerprint,
            cuts=cuts,
            rows_compared=certificate.rows_compared,
            peeks=peeks,
            is_clean=certificate.is_clean,
            actor=actor.name,
        )
        return dg.AssetCheckResult(
            passed=certificate.is_clean,
            description=_words_of(peeks, certificate.rows_compared, len(cuts)),
            metadata={
                "cuts": cuts,
                "cuts_by_reason": dg.MetadataValue.json(certificate.cuts_by_reason),
                "rows_compared": certificate.rows_compared,
                "peeks": peeks,
                "snapshot": head.id,
                "snapshot_fingerprint": head.fingerprint,
                "bars": bars.id,
                "bars_fingerprint": bars.fingerprint,
            },
        )

    return look_ahead


def _not_its_own(view: FeatureView, head: Snapshot, version: str) -> dg.AssetCheckResult:
    words = (
        f"{head.id} was computed by version {version} of {view.name}, and active is {view.version}: only the code "
        f"that computed it can certify it. Materialise {view.dataset} first"
    )
    return dg.AssetCheckResult(passed=False, description=words, metadata={"cuts": [], "rows_compared": 0, "peeks": []})


def _qualities(view: FeatureView, views: Mapping[str, FeatureView]) -> dg.AssetChecksDefinition:
    """Return the other checks, in one step: they look at the same rows, which are read once."""
    rules = {rule.name: rule for rule in _RULES}
    asset = key(view.dataset)

    @dg.multi_asset_check(
        name=f"{view.dataset.replace('/', '__')}__checks",
        can_subset=True,
        specs=[
            dg.AssetCheckSpec(
                rule.name,
                asset=asset,
                description=rule.description,
                blocking=rule.is_blocking,
                automation_condition=check_when_refreshed(),
            )
            for rule in _RULES
        ],
    )
    def qualities(
        context: dg.AssetCheckExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        duckdb: DuckDBResource,
        market: dg.ResourceParam[BarSource],
        calendar: dg.ResourceParam[TradingCalendar],
        clock: dg.ResourceParam[Clock],
        feature_registry: dg.ResourceParam[FeatureRegistry],
        feature_releases: dg.ResourceParam[ReleaseFolder],
    ) -> Iterator[dg.AssetCheckResult]:
        computed = view_to_compute(view, views, registry=feature_registry, releases=feature_releases)
        published = _Published(
            computed,
            {**views, view.name: view},
            snapshots=snapshots,
            duckdb=duckdb,
            market=market,
            calendar=calendar,
            clock=clock,
        )
        selected = {one.name for one in context.selected_asset_check_keys}
        schema = _schema_as_declared(published)
        for name in (name for name in rules if name in selected):
            is_readable = schema.is_passed or name == "schema_as_declared"
            finding = rules[name].judge(published) if is_readable else _not_judged(schema)
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=name,
                passed=finding.is_passed,
                severity=rules[name].severity,
                description=finding.words,
                metadata={**finding.numbers, "snapshot": published.snapshot.id},
            )

    return qualities


def _not_judged(schema: Finding) -> Finding:
    return Finding(is_passed=False, words=f"not judged, because of the schema: {schema.words}")


def _schema_as_declared(published: _Published) -> Finding:
    found = list(schema_differences(published.view, published.snapshot.schema))
    words = ", ".join(found) or f"{len(published.snapshot.schema)} columns, as declared"
    return Finding(is_passed=not found, words=words, numbers={"differences": len(found)})


def _keys_unique(published: _Published) -> Finding:
    return quality.keys_are_unique(published.rows)


def _values_in_range(published: _Published) -> Finding:
    outside = quality.out_of_range(published.rows, published.view.columns)
    words = "; ".join(f"{one.column}: {one.rows:,} rows from {one.lowest:g} to {one.highest:g}" for one in outside)
    numbers = {one.column: one.rows for one in outside}
    return Finding(is_passed=not outside, words=words or "every value is within its bounds", numbers=numbers)


def _latest_session_present(published: _Published) -> Finding:
    ends = published.market.history_ends()
    expected = expected_last_session(
        published.calendar,
        at=published.clock.now(),
        publication_lag=published.market.publication_lag,
        history_ends=ends,
    )
    rows = published.latest.select("symbol", "date")
    return bar_checks.latest_trading_day_present(rows, expected=expected, history_ends=ends)


def _complete_against_bars(published: _Published) -> Finding:
    return quality.complete_against_bars(published.rows, published.bars)


def _filled_after_warm_up(published: _Published) -> Finding:
    current = published.bars.filter(pl.col("superseded_at").is_null()).select("symbol", "date")
    rows = published.latest.join(current, on=["symbol", "date"], how="semi")  # of a bar that vanished nothing is known
    return quality.filled_after_warm_up(rows, published.view, published.lacking)


def _rows_per_session_usual(published: _Published) -> Finding:
    return quality.counts_are_usual(quality.rows_per_session(published.latest), of="stocks in a session")


def _traded_volume_usual(published: _Published) -> Finding:
    current = published.bars.filter(pl.col("superseded_at").is_null())
    traded = quality.traded_volume(current)
    if traded.is_empty():
        return Finding(is_passed=True, words="the source has no volume", numbers={"sessions_judged": 0})
    return quality.counts_are_usual(traded, of="traded shares (log10)", least_scale=0.0)


def _inputs_available(published: _Published) -> Finding:
    return quality.inputs_are_there(published.view, published.lacking)


def _past_is_kept(published: _Published) -> Finding:
    if (before := published.before) is None:
        return Finding(is_passed=True, words="there is no snapshot before that the same code made")
    comparable = [column.name for column in published.view.columns if column.unit != "USD"]
    return quality.past_is_kept(published.snapshots.frame(before), published.rows, comparable)


def _served_by_duckdb(published: _Published) -> Finding:
    view, expected = published.view, published.latest.height
    names = [f"features.{view.name}"]
    if not is_older_major(view) and view.major == published.views[view.name].major:
        names.append(f"features.{view.name}_v{view.major}")
    with published.duckdb.get_connection() as connection:
        served = {name: int(connection.table(name).shape[0]) for name in names}
    words = ", ".join(f"{name} serves {count:,}" for name, count in served.items())
    return Finding(
        is_passed=set(served.values()) == {expected},
        words=f"{expected:,} rows are the latest known; {words}",
        numbers={"published": expected, **served},
    )


def _online_equals_offline(published: _Published) -> Finding:
    """Ask for every symbol at a few instants both ways: as a service reads, and as a training set does."""
    view, rows = published.view, published.latest
    instants = rows.select(pl.col("known_at").unique().sort()).to_series()
    if instants.is_empty():
        return Finding(is_passed=True, words="there is no row")
    places = sorted({round(step * (len(instants) - 1) / (_SKEW_INSTANTS - 1)) for step in range(_SKEW_INSTANTS)})
    symbols = rows["symbol"].unique().sort().to_list()
    store = FeatureStore(published.snapshots, {**published.views, view.name: view}.values())
    features = [f"{view.name}.*"]
    asked = pl.concat(
        [pl.DataFrame({"symbol": symbols}).with_columns(at=pl.lit(instants[place], instants.dtype)) for place in places]
    )
    online = [
        store.latest(symbols, features, as_of=instants[place]).rows.with_columns(
            at=pl.lit(instants[place], instants.dtype)
        )
        for place in places
    ]
    offline = store.training_set(asked, features).rows
    found = skew(pl.concat(online), offline, view.column_names)
    words = f"{found.rows:,} rows, online as offline" if found.is_none else "; ".join(found.examples)
    differing = {name: count for name, count in found.differing.items() if count}
    return Finding(is_passed=found.is_none, words=words, numbers={"rows_compared": found.rows, **differing})


def _words_of(peeks: Sequence[str], rows: int, cuts: int) -> str:
    return peeks[0] if peeks else f"{rows:,} rows compared over {cuts} cuts, and none moved"


def _rule(judge: Callable[[_Published], Finding], description: str, *, blocking: bool = False) -> _Rule:
    return _Rule(name=judge.__name__[1:], description=description, is_blocking=blocking, judge=judge)


_RULES = (
    _rule(_schema_as_declared, "The published columns are the declared ones, of their types.", blocking=True),
    _rule(_keys_unique, "One row for each symbol, date and instant of knowledge.", blocking=True),
    _rule(_values_in_range, "Every value lies within its column's declared bounds.", blocking=True),
    _rule(_latest_session_present, "Every stock reaches the last session that its source should have by now."),
    _rule(_complete_against_bars, "Each bar of each stock has its row, and no row is without a bar."),
    _rule(_filled_after_warm_up, "Columns that the source feeds have values once their windows are full."),
    _rule(_rows_per_session_usual, "No session of the last year has unusually many or few stocks."),
    _rule(_traded_volume_usual, "No session of the last year has an unusual number of traded shares."),
    _rule(_inputs_available, "The source feeds every column; those it does not are null, and named here."),
    _rule(
        _past_is_kept,
        "What the snapshot before said is still there; restatements are rows beside it. Prices in USD may be re-based.",
    ),
    _rule(_served_by_duckdb, "The DuckDB views return the latest known rows."),
    _rule(_online_equals_offline, "A service reads the same values as a training set, at instants across the history."),
)
