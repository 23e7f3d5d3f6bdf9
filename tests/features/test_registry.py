"""A view only ever makes allowed moves, each with one ledger entry, and activation names all that stops it."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlops_assets.features.activation import ActivationEvidence, examine
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.features.view_status import (
    MOVES,
    ActivationBlocked,
    MoveNotAllowed,
    ReleaseChanged,
    StillRead,
    ViewState,
    ViewStatus,
)
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import feature_view

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
BARS, RELEASE, OTHER_RELEASE = "b" * 64, "1" * 64, "2" * 64
VIEW = FeatureView(
    name="tempo",
    version="1.0.0",
    owner="team:quant",
    description="A view of the tests.",
    warm_up_bars=1,
    columns=(
        Feature(
            name="share", expr=pl.col("adjusted_close") / 2, minimum=0.0, maximum=1.0, description="Something bounded."
        ),
    ),
    declared_in=Path(__file__),
)


@pytest.fixture
def registry(database: Database, ledger: Ledger, clock: FixedClock) -> FeatureRegistry:
    return FeatureRegistry(database, ledger, clock)


def rows(*shares: float | None, symbol: str = "A") -> pl.DataFrame:
    count = len(shares)
    days = [datetime(2026, 1, 1 + number, 21, tzinfo=UTC) for number in range(count)]
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "date": [day.date() for day in days],
            "event_at": days,
            "known_at": days,
            "share": list(shares),
        },
        schema_overrides={
            "share": pl.Float64,
            "event_at": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
        },
    )


def publish(snapshots: SnapshotStore, frame: pl.DataFrame) -> Snapshot:
    provenance = Provenance(code_version="1", inputs={"market/bars": BARS})
    table: pa.Table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return snapshots.publish(VIEW.dataset, table, provenance=provenance, actor="tests")


def certify(registry: FeatureRegistry, published: str, **changes: Any) -> None:
    found: dict[str, Any] = {
        "view": VIEW.name,
        "version": VIEW.version,
        "snapshot_fingerprint": published,
        "bars_fingerprint": BARS,
        "cuts": ["2026-01-02"],
        "rows_compared": 10,
        "peeks": [],
        "is_clean": True,
        "actor": "dagster",
    }
    registry.record_certificate(**{**found, **changes})


def evidence_of(
    registry: FeatureRegistry, published: Snapshot, frame: pl.DataFrame, *, view: FeatureView = VIEW, **changes: Any
) -> ActivationEvidence:
    found = examine(
        view,
        frame,
        schema=published.schema,
        snapshot_fingerprint=published.fingerprint,
        snapshot_version="1.0.0",
        release_fingerprint=RELEASE,
        is_as_released=True,
        certificate=registry.certificate_of(view.name, published.fingerprint),
    )
    return replace(found, **changes)


@pytest.fixture
def good(registry: FeatureRegistry, snapshots: SnapshotStore) -> ActivationEvidence:
    frame = rows(0.1, 0.5, None)
    published = publish(snapshots, frame)
    certify(registry, published.fingerprint)
    return evidence_of(registry, published, frame)


def actions(ledger: Ledger) -> list[str]:
    return [entry.action for entry in ledger.entries(subject="feature_views/tempo")]


def test_a_view_that_nobody_touched_is_a_draft(registry: FeatureRegistry):
    assert registry.state("tempo") == ViewState(view="tempo", status=ViewStatus.DRAFT)
    assert registry.states() == {}


def test_a_life_from_draft_to_archive_with_a_reinstatement(
    registry: FeatureRegistry, ledger: Ledger, good: ActivationEvidence
):
    assert registry.activate(good, actor="ann", reason="validated").status is ViewStatus.ACTIVE
    assert registry.deprecate("tempo", reason="too slow", successor="haste", actor="ann").successor == "haste"
    assert registry.activate(good, actor="ann", reason="still needed").successor is None
    registry.deprecate("tempo", reason="now really", actor="ann")
    assert registry.archive("tempo", readers=list, actor="bob").status is ViewStatus.ARCHIVED
    assert actions(ledger) == [
        "look_ahead_certificate.issue",
        "feature_release.register",
        "feature_view.activate",
        "feature_view.deprecate",
        "feature_view.activate",
        "feature_view.deprecate",
        "feature_view.archive",
    ]
    assert [(one.actor, one.what, one.reason) for one in registry.history("tempo")] == [
        ("dagster", "look-ahead certificate of 1.0.0: clean, 1 cuts", ""),
        ("ann", "version 1.0.0 registered", ""),
        ("ann", "draft → active, version 1.0.0", "validated"),
        ("ann", "active → deprecated, use haste", "too slow"),
        ("ann", "deprecated → active, version 1.0.0", "still needed"),
        ("ann", "active → deprecated", "now really"),
        ("bob", "deprecated → archived", ""),
    ]
    assert ledger.verify().is_intact


def test_a_move_that_is_not_allowed_says_which_are(registry: FeatureRegistry, good: ActivationEvidence):
    with pytest.raises(MoveNotAllowed, match=r"tempo is draft and can't become archived: .* only become active"):
        registry.archive("tempo", readers=list, actor="ann")
    registry.activate(good, actor="ann")
    registry.deprecate("tempo", reason="old", actor="ann")
    registry.archive("tempo", readers=list, actor="ann")
    with pytest.raises(MoveNotAllowed, match="that is final"):
        registry.activate(good, actor="ann")
    registry.register_release("tempo", "0.9.0", OTHER_RELEASE, actor="ann")
    with pytest.raises(Conflict, match="archived"):
        registry.set_active("tempo", "0.9.0", actor="ann", reason="back")


def test_everything_that_blocks_an_activation_is_said_at_once(registry: FeatureRegistry, snapshots: SnapshotStore):
    frame = pl.concat([rows(0.5, 7.0, -3.0), rows(0.5)]).drop("event_at").with_columns(extra=pl.lit(1))
    published = publish(snapshots, frame)
    certify(registry, published.fingerprint, peeks=["share at 2026-01-02"], is_clean=False)
    evidence = evidence_of(registry, published, frame, release_fingerprint=None, snapshot_version="0.9.0")
    with pytest.raises(ActivationBlocked) as raised:
        registry.activate(evidence, actor="ann")
    said = raised.value.reasons
    assert [words for words in said if "not released" in words]
    assert [words for words in said if "version 0.9.0, not 1.0.0" in words]
    assert [words for words in said if "event_at is missing, extra is not declared" in words]
    assert [words for words in said if "bad keys: A 2026-01-01" in words]
    assert [words for words in said if "share has 2 values out of range, from -3 to 7" in words]
    assert [words for words in said if "uses later values" in words]
    assert len(said) == 6
    assert "(1) " in str(raised.value)
    assert "(6) " in str(raised.value)
    assert registry.state("tempo").status is ViewStatus.DRAFT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"snapshot_fingerprint": None}, "nothing is published"),
        ({"row_count": 0}, "is empty"),
        ({"release_fingerprint": None}, "not released"),
        ({"is_as_released": False}, "no longer what was released"),
        ({"snapshot_version": None}, "of no stated version"),
        ({"bad_keys": "bad keys: A 2026-01-01"}, "bad keys: A 2026-01-01; mend the bars"),
        ({"certificate": None}, "no look-ahead certificate"),
        ({"archived": ("haste",)}, "it reads haste, which is archived"),
    ],
)
def test_each_validation_blocks_alone(
    registry: FeatureRegistry, good: ActivationEvidence, changes: dict[str, Any], reason: str
):
    with pytest.raises(ActivationBlocked, match=reason) as raised:
        registry.activate(replace(good, **changes), actor="ann")
    assert len(raised.value.reasons) == 1


def test_a_certificate_of_another_snapshot_or_version_does_not_count(
    registry: FeatureRegistry, snapshots: SnapshotStore, good: ActivationEvidence
):
    assert good.certificate is not None
    for stale in (replace(good.certificate, snapshot_fingerprint="0" * 64), replace(good.certificate, version="0.9.0")):
        with pytest.raises(ActivationBlocked, match="no look-ahead certificate of this snapshot"):
            registry.activate(replace(good, certificate=stale), actor="ann")


def test_a_snapshot_published_after_the_examination_stops_the_activation(
    registry: FeatureRegistry, snapshots: SnapshotStore, good: ActivationEvidence, ledger: Ledger
):
    publish(snapshots, rows(0.9))
    with pytest.raises(Conflict, match="published anew"):
        registry.activate(good, actor="ann")
    assert registry.state("tempo").status is ViewStatus.DRAFT
    assert actions(ledger) == ["look_ahead_certificate.issue"]
    assert registry.releases("tempo") == []


def test_two_activations_at_once_are_one_entry(registry: FeatureRegistry, good: ActivationEvidence, ledger: Ledger):
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(lambda name: registry.activate(good, actor=name), [f"p{number}" for number in range(8)]))
    assert {state.status for state in states} == {ViewStatus.ACTIVE}
    assert actions(ledger).count("feature_view.activate") == 1
    assert actions(ledger).count("feature_release.register") == 1
    assert ledger.verify().is_intact


class DyingJournal:
    """Appends and dies before the transaction commits."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def append(self, connection: sa.Connection, change: Any) -> int:
        self._ledger.append(connection, change)
        raise KeyboardInterrupt


def test_a_crash_leaves_neither_the_state_nor_its_entry(
    database: Database, clock: FixedClock, ledger: Ledger, registry: FeatureRegistry, good: ActivationEvidence
):
    before = actions(ledger)
    dying = FeatureRegistry(database, DyingJournal(ledger), clock)
    with pytest.raises(KeyboardInterrupt):
        dying.activate(good, actor="ann")
    assert registry.state("tempo").status is ViewStatus.DRAFT
    assert registry.releases("tempo") == []
    assert actions(ledger) == before


def test_a_failing_state_row_takes_its_entry_with_it(
    database: Database, registry: FeatureRegistry, good: ActivationEvidence, ledger: Ledger
):
    before = actions(ledger)
    with database.begin() as connection:
        connection.execute(
            sa.text("CREATE TRIGGER full BEFORE INSERT ON feature_view BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        )
    with pytest.raises(sa.exc.IntegrityError):
        registry.activate(good, actor="ann")
    assert actions(ledger) == before
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(feature_view)) == 0


def test_a_deprecation_says_why(registry: FeatureRegistry, good: ActivationEvidence):
    registry.activate(good, actor="ann")
    with pytest.raises(Conflict, match="say why"):
        registry.deprecate("tempo", reason="  ", actor="ann")
    with pytest.raises(Conflict, match="own successor"):
        registry.deprecate("tempo", reason="old", successor="tempo", actor="ann")


def test_nobody_is_sent_to_a_view_that_is_on_its_way_out(registry: FeatureRegistry, good: ActivationEvidence):
    registry.activate(good, actor="ann")
    registry.deprecate("tempo", reason="old", actor="ann")
    with pytest.raises(MoveNotAllowed):  # a draft is not deprecated, whatever its successor
        registry.deprecate("haste", reason="old", successor="pace", actor="ann")
    with pytest.raises(Conflict, match="can't be succeeded by tempo, which is deprecated itself"):
        registry.deprecate("haste", reason="old", successor="tempo", actor="ann")
    registry.archive("tempo", readers=list, actor="ann")
    with pytest.raises(Conflict, match="tempo, which is archived itself"):
        registry.deprecate("haste", reason="old", successor="tempo", actor="ann")


def test_an_archive_leaves_no_reader_behind(registry: FeatureRegistry, good: ActivationEvidence):
    registry.activate(good, actor="ann")
    registry.deprecate("tempo", reason="old", actor="ann")
    with pytest.raises(StillRead, match="view haste, model signal_classifier") as raised:
        registry.archive("tempo", readers=lambda: ["view haste", "model signal_classifier"], actor="ann")
    assert raised.value.readers == ("view haste", "model signal_classifier")
    assert registry.state("tempo").status is ViewStatus.DEPRECATED


def test_another_content_under_a_released_version_is_refused_for_ever(
    registry: FeatureRegistry, database: Database, good: ActivationEvidence, ledger: Ledger
):
    registry.register_release("tempo", "1.0.0", RELEASE, actor="dagster")
    registry.register_release("tempo", "1.0.0", RELEASE, actor="dagster")
    assert actions(ledger).count("feature_release.register") == 1
    with pytest.raises(ReleaseChanged, match="released as 111111111111, and this is 222222222222"):
        registry.register_release("tempo", "1.0.0", OTHER_RELEASE, actor="dagster")
    for _ in range(2):  # while it is a draft, and when the version is active already
        with pytest.raises(ReleaseChanged):
            registry.activate(replace(good, release_fingerprint=OTHER_RELEASE), actor="ann")
        registry.activate(good, actor="ann")
    assert registry.release_fingerprint("tempo", "1.0.0") == RELEASE
    for statement in ("UPDATE feature_release SET fingerprint = 'x'", "DELETE FROM feature_release"):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.begin() as connection:
            connection.execute(sa.text(statement))


def test_the_active_version_moves_to_a_registered_one_only(
    registry: FeatureRegistry, good: ActivationEvidence, ledger: Ledger
):
    registry.activate(good, actor="ann")
    with pytest.raises(NotFound, match=r"Registered versions of tempo: 1\.0\.0"):
        registry.set_active("tempo", "0.9.0", actor="ann", reason="worse")
    registry.register_release("tempo", "0.9.0", OTHER_RELEASE, actor="dagster")
    with pytest.raises(Conflict, match="say why"):
        registry.set_active("tempo", "0.9.0", actor="ann", reason="")
    after = registry.set_active("tempo", "0.9.0", actor="ann", reason="1.0.0 is worse")
    assert (after.status, after.active_version) == (ViewStatus.ACTIVE, "0.9.0")
    registry.set_active("tempo", "0.9.0", actor="ann", reason="again")
    assert actions(ledger).count("feature_view.set_active") == 1
    assert [one.version for one in registry.releases("tempo")] == ["0.9.0", "1.0.0"]
    assert registry.history("tempo")[-1].what == "active version 1.0.0 → 0.9.0"
    registry.deprecate("tempo", reason="old", actor="ann")
    registry.archive("tempo", readers=list, actor="ann")
    with pytest.raises(Conflict, match="is archived: no version of it can be active"):
        registry.set_active("tempo", "0.9.0", actor="ann", reason="again")


def test_an_active_view_moves_on_to_its_next_version(registry: FeatureRegistry, good: ActivationEvidence):
    registry.activate(good, actor="ann")
    assert good.certificate is not None
    certificate = replace(good.certificate, version="1.1.0")
    following = replace(
        good, version="1.1.0", snapshot_version="1.1.0", release_fingerprint=OTHER_RELEASE, certificate=certificate
    )
    assert registry.activate(following, actor="ann").active_version == "1.1.0"
    assert registry.history("tempo")[-1].what == "active, version 1.1.0"


def test_the_same_certificate_again_is_no_entry_and_the_newest_counts(registry: FeatureRegistry, ledger: Ledger):
    certify(registry, "5" * 64)
    certify(registry, "5" * 64)
    assert actions(ledger) == ["look_ahead_certificate.issue"]
    assert registry.certificate_of("tempo", "6" * 64) is None
    certify(registry, "5" * 64, cuts=["2026-01-03"], peeks=["share"], is_clean=False)
    found = registry.certificate_of("tempo", "5" * 64)
    assert found is not None
    assert (found.is_clean, found.cuts, found.peeks) == (False, ("2026-01-03",), ("share",))
    certify(registry, "5" * 64)
    found = registry.certificate_of("tempo", "5" * 64)
    assert found is not None
    assert found.is_clean


class Life(RuleBasedStateMachine):
    """Asks for any move in any order; only allowed ones happen, each with exactly one entry."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        database = Database(f"sqlite:///{self._folder.name}/platform.db")
        database.migrate()
        clock = FixedClock(at=NOW)
        self.database, self.ledger = database, Ledger(database, clock)
        snapshots = SnapshotStore(Path(self._folder.name) / "snapshots", database, self.ledger, clock)
        self.registry = FeatureRegistry(database, self.ledger, clock)
        frame = rows(0.1)
        published = publish(snapshots, frame)
        certify(self.registry, published.fingerprint)
        self.evidence = evidence_of(self.registry, published, frame)
        self.status = ViewStatus.DRAFT
        self.seen = self.count()

    def count(self) -> int:
        return sum(1 for action in actions(self.ledger) if action.startswith("feature_view."))

    def attempt(self, asked: ViewStatus, move: Any, *, is_ready: bool = True) -> None:
        before = self.registry.state("tempo")
        is_allowed = asked in MOVES[before.status] and is_ready
        try:
            after = move()
        except Conflict:
            after = before
            assert not is_allowed
        if is_allowed:
            assert after.status is asked
            assert self.count() == self.seen + 1
        else:
            assert (after, self.count()) == (before, self.seen)
        assert self.registry.state("tempo") == after
        self.status, self.seen = after.status, self.count()

    @rule(is_ready=st.booleans())
    def activate(self, is_ready: bool) -> None:
        evidence = self.evidence if is_ready else replace(self.evidence, row_count=0)
        self.attempt(ViewStatus.ACTIVE, lambda: self.registry.activate(evidence, actor="ann"), is_ready=is_ready)

    @rule(reason=st.sampled_from(["", "old"]))
    def deprecate(self, reason: str) -> None:
        move = lambda: self.registry.deprecate("tempo", reason=reason, actor="ann")  # noqa: E731
        self.attempt(ViewStatus.DEPRECATED, move, is_ready=bool(reason))

    @rule(readers=st.sampled_from([[], ["model m"]]))
    def archive(self, readers: list[str]) -> None:
        move = lambda: self.registry.archive("tempo", readers=lambda: readers, actor="ann")  # noqa: E731
        self.attempt(ViewStatus.ARCHIVED, move, is_ready=not readers)

    @precondition(lambda self: self.status is ViewStatus.ARCHIVED)
    @rule()
    def stays_archived(self) -> None:
        assert self.registry.state("tempo").status is ViewStatus.ARCHIVED

    @invariant()
    def the_history_ends_where_the_view_stands(self) -> None:
        moves = [one for one in self.ledger.entries(subject="feature_views/tempo") if "feature_view." in one.action]
        assert (moves[-1].details["status_after"] if moves else "draft") == self.registry.state("tempo").status
        for earlier, later in pairwise(moves):
            assert earlier.after == later.before

    def teardown(self) -> None:
        assert self.ledger.verify().is_intact
        self.database.dispose()
        self._folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
