"""Retrieval from published snapshots: what comes back, what is read for it, what is written down, what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from mlops_assets.features.point_in_time import point_in_time_join
from mlops_assets.features.requested import InvalidRequest
from mlops_assets.features.retrieval import FeatureStore, Retrieval
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, MissingColumns, NotFound, UnknownReference
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from tests.features.published import HOUR, START, TIME, publish, rows_of, view_of

MOMENTUM = view_of("momentum", "return_1d", "rsi_14", ttl=6 * HOUR)
VOLATILITY = view_of("volatility", "atr_14", "return_1d", ttl=48 * HOUR)
OLD = view_of("momentum_v1", "return_1d", ttl=6 * HOUR, version="1.4.0")
DAYS = tuple(START + timedelta(days=day) for day in range(1, 5))


class Counting:
    """The store, and which files were asked for."""

    def __init__(self, snapshots: SnapshotStore) -> None:
        self._snapshots = snapshots
        self.opened: list[SnapshotFile] = []

    def find_head(self, dataset: str) -> Snapshot | None:
        return self._snapshots.find_head(dataset)

    def get(self, dataset: str, version: int) -> Snapshot:
        return self._snapshots.get(dataset, version)

    def verified_path(self, published: Snapshot, file: SnapshotFile) -> Path:
        self.opened.append(file)
        return self._snapshots.verified_path(published, file)


def history(seed: int, view: FeatureView, *, rows: int = 600) -> pl.DataFrame:
    """Return five days of rows of six symbols: late knowledge, restatements, null values."""
    rng = random.Random(seed)
    found = list[tuple[Any, ...]]()
    for _ in range(rows):
        event = START + rng.randrange(5 * 24) * HOUR
        late = rng.choice([timedelta(0), HOUR, 30 * HOUR])
        values = [rng.choice([None, rng.random(), rng.random()]) for _ in view.column_names]
        found.append((rng.choice("abcdef"), event, event + late, *values))
    schema = {"symbol": pl.String, "event_at": TIME, "known_at": TIME, **dict.fromkeys(view.column_names, pl.Float64)}
    return pl.DataFrame(found, schema=schema, orient="row").unique(["symbol", "event_at", "known_at"], keep="last")


def questions(seed: int, *, rows: int = 300) -> pl.DataFrame:
    rng = random.Random(seed)
    asked = [
        (rng.choice([*"abcdef", "never", None]), START + rng.randrange(-3, 8 * 24) * HOUR, number)
        for number in range(rows)
    ]
    return pl.DataFrame(asked, schema={"symbol": pl.String, "at": TIME, "order_id": pl.Int64}, orient="row")


@pytest.fixture
def histories(snapshots: SnapshotStore) -> dict[str, pl.DataFrame]:
    made = {view.name: history(seed, view) for seed, view in enumerate((MOMENTUM, VOLATILITY))}
    for view in (MOMENTUM, VOLATILITY):
        publish(snapshots, view, made[view.name], borders=DAYS)
    return made


@pytest.fixture
def store(snapshots: SnapshotStore, histories: dict[str, pl.DataFrame]) -> FeatureStore:
    return FeatureStore(snapshots, [MOMENTUM, VOLATILITY])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("as_of", [None, START + 50 * HOUR], ids=["today", "as of"])
@pytest.mark.parametrize("with_hindsight", [False, True])
def test_files_read_newest_first_give_what_one_table_would(
    store: FeatureStore, histories: dict[str, pl.DataFrame], seed: int, as_of: datetime | None, with_hindsight: bool
):
    asked = questions(seed)
    found = store.training_set(
        asked, ["momentum.*", "volatility.atr_14"], as_of=as_of, with_hindsight=with_hindsight
    ).rows
    expected = asked
    for view, columns in ((MOMENTUM, ["return_1d", "rsi_14"]), (VOLATILITY, ["atr_14"])):
        expected = point_in_time_join(
            expected, histories[view.name], columns=columns, ttl=view.ttl, as_of=as_of, with_hindsight=with_hindsight
        )
    assert found.equals(expected)
    assert 0 < found["atr_14"].null_count() < found.height


def test_an_age_limit_of_the_question_replaces_that_of_the_view(
    store: FeatureStore, histories: dict[str, pl.DataFrame]
):
    asked = questions(1)
    found = store.training_set(asked, ["momentum.rsi_14"], ttl={"momentum": timedelta(0)})
    ageless = point_in_time_join(asked, histories["momentum"], columns=["rsi_14"], ttl=timedelta(0))
    assert found.rows.equals(ageless)
    assert found.retrieval.views[0].ttl == timedelta(0)


def test_names_follow_the_question(store: FeatureStore):
    asked = questions(1, rows=3)
    assert store.training_set(asked, ["volatility.atr_14", "momentum.rsi_14"]).rows.columns == [
        "symbol", "at", "order_id", "atr_14", "rsi_14",
    ]  # fmt: skip
    both = store.training_set(asked, ["momentum", "volatility.*", "momentum.rsi_14"], full_names=True).rows
    assert both.columns[3:] == [
        "momentum__return_1d", "momentum__rsi_14", "volatility__atr_14", "volatility__return_1d",
    ]  # fmt: skip


def test_a_view_is_pinned_by_its_major_version(snapshots: SnapshotStore, store: FeatureStore):
    current = view_of("momentum", "return_1d", ttl=6 * HOUR, version="2.1.0")
    publish(snapshots, OLD, rows_of([("a", START, START, 1.0)], "return_1d"))
    publish(snapshots, current, rows_of([("a", START, START, 2.0)], "return_1d"))
    served = FeatureStore(snapshots, [current, OLD])
    asked = pl.DataFrame({"symbol": ["a"], "at": [START]})
    found = served.training_set(asked, ["momentum", "momentum_v1", "momentum_v2"], full_names=True)
    assert found.rows.row(0)[2:] == (2.0, 1.0, 2.0)
    assert [(used.view, used.version, used.dataset) for used in found.retrieval.views] == [
        ("momentum", "2.1.0", "features/momentum"),
        ("momentum_v1", "1.4.0", "features/momentum_v1"),
        ("momentum_v2", "2.1.0", "features/momentum"),
    ]


@pytest.mark.parametrize(
    "convert",
    [
        lambda rows: rows,
        lambda rows: rows.to_arrow(),
        lambda rows: rows.to_pandas(),
        lambda rows: rows.to_pandas().set_index(pd.Index(range(100, 100 + rows.height))),
        lambda rows: rows.cast({"symbol": pl.Categorical}),
        lambda rows: rows.cast({"at": pl.Datetime("ns", "UTC")}),
        lambda rows: rows.with_columns(pl.col("at").dt.convert_time_zone("America/New_York")),
    ],
    ids=["polars", "Arrow", "pandas", "pandas with an index", "categorical", "nanoseconds", "New York"],
)
def test_any_kind_of_table_asks_the_same(store: FeatureStore, convert: Callable[[pl.DataFrame], Any]):
    asked = questions(2)
    expected = store.training_set(asked, ["momentum.rsi_14"]).rows["rsi_14"]
    assert store.training_set(convert(asked), ["momentum.rsi_14"]).rows["rsi_14"].equals(expected)


def test_the_time_may_be_in_any_column(store: FeatureStore):
    asked = questions(2)
    found = store.training_set(asked.rename({"at": "traded_at"}), ["momentum.rsi_14"], at="traded_at").rows
    assert found["rsi_14"].equals(store.training_set(asked, ["momentum.rsi_14"]).rows["rsi_14"])


def test_no_questions_get_no_rows_of_the_right_types(store: FeatureStore):
    found = store.training_set(questions(1).clear(), ["momentum"]).rows
    assert found.height == 0
    assert found.schema == {**questions(1).schema, "return_1d": pl.Float64, "rsi_14": pl.Float64}


def test_symbols_never_seen_get_nulls(store: FeatureStore):
    found = store.training_set(pl.DataFrame({"symbol": ["never"], "at": [DAYS[3]]}), ["momentum"]).rows
    assert found.row(0)[2:] == (None, None)
    assert found.schema["rsi_14"] == pl.Float64


def test_an_empty_view_answers_nulls(snapshots: SnapshotStore):
    publish(snapshots, MOMENTUM, history(1, MOMENTUM).clear())
    store = FeatureStore(snapshots, [MOMENTUM])
    asked = pl.DataFrame({"symbol": ["a"], "at": [START]})
    assert store.training_set(asked, ["momentum"]).rows.row(0)[2:] == (None, None)
    assert store.latest(["a"], ["momentum"]).rows.row(0) == ("a", None, None)


def test_only_files_within_reach_are_opened(snapshots: SnapshotStore, histories: dict[str, pl.DataFrame]):
    counting = Counting(snapshots)
    store = FeatureStore(counting, [MOMENTUM, VOLATILITY])
    asked = pl.DataFrame({"symbol": ["a", "b"], "at": [START + 30 * HOUR, START + 40 * HOUR]})
    store.training_set(asked, ["momentum.rsi_14"])
    files = snapshots.head(MOMENTUM.dataset).files
    assert counting.opened == [files[1]], "30 h - 6 h is the first instant of the second day"
    counting.opened.clear()
    store.training_set(asked.with_columns(pl.col("at") - timedelta(microseconds=1)), ["momentum.rsi_14"])
    assert set(counting.opened) <= {files[0], files[1]}


def test_files_whose_times_overlap_are_asked_together(snapshots: SnapshotStore):
    rows = history(7, MOMENTUM)
    odd, even = (rows.filter(pl.col("event_at").dt.hour() % 2 == rest) for rest in (1, 0))
    tables = [part.sort("symbol", "event_at", "known_at").to_arrow() for part in (odd, even)]
    snapshots.publish(MOMENTUM.dataset, tables, provenance=Provenance(code_version="odd", inputs={}), actor="ana")
    asked = questions(3)
    found = FeatureStore(snapshots, [MOMENTUM]).training_set(asked, ["momentum"]).rows
    assert found.equals(point_in_time_join(asked, rows, columns=MOMENTUM.column_names, ttl=MOMENTUM.ttl))


def test_a_damaged_file_is_never_used(snapshots: SnapshotStore, store: FeatureStore):
    path = snapshots.paths(snapshots.head(MOMENTUM.dataset))[2]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(IntegrityViolation, match="Restore the file"):
        store.training_set(questions(1), ["momentum"])


def test_a_recorded_retrieval_is_repeated_after_views_were_published_again(
    snapshots: SnapshotStore, store: FeatureStore
):
    asked = questions(4)
    first = store.training_set(asked, ["momentum", "volatility.atr_14"], as_of=START + 90 * HOUR)
    publish(snapshots, MOMENTUM, history(99, MOMENTUM))
    assert not store.training_set(asked, ["momentum", "volatility.atr_14"], as_of=START + 90 * HOUR).rows.equals(
        first.rows
    )
    written = json.dumps(first.retrieval.to_json())
    again = FeatureStore(snapshots, []).again(asked, Retrieval.from_json(json.loads(written)))
    assert again.rows.equals(first.rows)
    assert again.retrieval == first.retrieval


def test_a_retrieval_can_be_written_down(snapshots: SnapshotStore, store: FeatureStore):
    as_of = datetime(2024, 1, 4, 9, tzinfo=UTC).astimezone()
    retrieval = store.training_set(questions(4), ["momentum", "volatility.atr_14"], as_of=as_of).retrieval
    written = json.loads(json.dumps(retrieval.to_json()))
    assert written["as_of"] == "2024-01-04T09:00:00+00:00"
    assert [(one["snapshot"], one["ttl_seconds"], one["columns"]) for one in written["views"]] == [
        (1, 21600.0, {"return_1d": "return_1d", "rsi_14": "rsi_14"}),
        (1, 172800.0, {"atr_14": "atr_14"}),
    ]
    assert retrieval.inputs == {
        view.dataset: snapshots.head(view.dataset).fingerprint for view in (MOMENTUM, VOLATILITY)
    }
    later = store.training_set(questions(5), ["momentum", "volatility.atr_14"], as_of=as_of).retrieval
    assert later.fingerprint == retrieval.fingerprint, "it covers the question but its rows"
    other = store.training_set(questions(4), ["momentum.rsi_14"], as_of=as_of).retrieval
    assert other.fingerprint != retrieval.fingerprint


def test_a_retrieval_of_another_platform_is_refused(store: FeatureStore):
    retrieval = store.training_set(questions(4), ["momentum"]).retrieval
    foreign = replace(retrieval, views=tuple(replace(used, fingerprint="0" * 64) for used in retrieval.views))
    with pytest.raises(Conflict, match="another platform"):
        store.again(questions(4), foreign)


def test_a_view_that_was_never_published_says_so(snapshots: SnapshotStore):
    with pytest.raises(NotFound, match="Materialise the asset features/momentum"):
        FeatureStore(snapshots, [MOMENTUM]).training_set(questions(1), ["momentum"])


def test_a_declared_column_that_is_not_published_yet_says_so(snapshots: SnapshotStore, store: FeatureStore):
    newer = view_of("momentum", "return_1d", "rsi_14", "macd", version="1.1.0")
    with pytest.raises(MissingColumns, match=r"macd.*features/momentum@1"):
        FeatureStore(snapshots, [newer]).training_set(questions(1), ["momentum"])


ASKED = questions(1)


@pytest.mark.parametrize(
    ("features", "how", "error", "words"),
    [
        (["momentun.rsi_14"], {}, UnknownReference, "did you mean 'momentum'"),
        (["momentum.rsi_41"], {}, UnknownReference, "did you mean 'rsi_14'"),
        (["momentum_v3.rsi_14"], {}, UnknownReference, "momentum_v1"),
        ([], {}, InvalidRequest, "at least one"),
        ("momentum.rsi_14", {}, InvalidRequest, "as a list"),
        (["momentum", "volatility"], {}, InvalidRequest, "momentum.return_1d and volatility.return_1d.*full_names"),
        (["momentum"], {"ttl": {"momentum": -HOUR}}, InvalidRequest, "negative"),
        (["momentum"], {"ttl": {"volatility": HOUR}}, UnknownReference, "ttl"),
        ([7], {}, InvalidRequest, "as a list"),
        (["momentum"], {"ttl": {"momentum": 7}}, InvalidRequest, "give a timedelta"),
        (["momentum"], {"as_of": DAYS[0].date()}, InvalidRequest, "as_of.*is no instant"),
        (["momentum"], {"as_of": datetime(2024, 1, 1)}, InvalidRequest, "as_of.*time zone"),  # noqa: DTZ001
    ],
)
def test_a_wrong_question_is_refused(
    store: FeatureStore, features: Any, how: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        store.training_set(ASKED, features, **how)


@pytest.mark.parametrize(
    ("entities", "error", "words"),
    [
        (ASKED.drop("at"), MissingColumns, "at="),
        (ASKED.drop("symbol"), MissingColumns, "symbol"),
        (ASKED.with_columns(pl.col("at").dt.replace_time_zone(None)), InvalidRequest, "tz_localize"),
        (ASKED.to_pandas().assign(at=lambda rows: rows["at"].dt.tz_localize(None)), InvalidRequest, "time zone"),
        (ASKED.with_columns(pl.col("at").dt.date()), InvalidRequest, "is Date"),
        (ASKED.with_columns(pl.col("at").cast(pl.String)), InvalidRequest, "is String"),
        (ASKED.with_columns(at=pl.when(pl.col("order_id") != 7).then("at")), InvalidRequest, "1 rows, first in row 7"),
        (ASKED.with_columns(symbol=pl.lit(5)), InvalidRequest, "tickers as strings"),
        (pd.DataFrame({"symbol": ["a", 5], "at": [DAYS[0], DAYS[1]]}), InvalidRequest, "mixes types"),
        (ASKED.rename({"order_id": "rsi_14"}), InvalidRequest, "column 'rsi_14' of the entities"),
        ([("a", DAYS[0])], InvalidRequest, "builtins.list is no table"),
        (ASKED.lazy(), InvalidRequest, "is no table"),
    ],
)
def test_wrong_rows_are_refused(store: FeatureStore, entities: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        store.training_set(entities, ["momentum"])
