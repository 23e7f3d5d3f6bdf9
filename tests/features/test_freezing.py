from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from mlops_assets.features.freezing import BuiltOtherwise, newest_of, sources_behind
from mlops_assets.features.publication import publish_view
from mlops_assets.features.spec import Folds, Label
from mlops_assets.features.training_set import build_training_set
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.features.bars import walk
from tests.features.freeze import COUNT, DAYS, SPEC, VIEW, freeze, store


def test_another_process_with_its_rows_in_another_order_gives_the_same_bytes_and_details(tmp_path: Path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = freeze(store(tmp_path / "here"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.features.freeze", str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "99", "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(run.stdout.splitlines()[-1])
    assert there["fingerprint"] == here.fingerprint
    assert there["files"] == [file.sha256 for file in here.files]
    told = [{**one, "fingerprint": ""} for one in there["details"]["snapshots"]]  # the shuffled bars are other bytes
    assert told == [{**one, "fingerprint": ""} for one in here.details["snapshots"]]
    assert {**there["details"], "snapshots": []} == {**here.details, "snapshots": []}


def test_the_details_say_what_was_asked_of_which_snapshots_and_versions(tmp_path: Path):
    snapshots = store(tmp_path)
    frozen = freeze(snapshots)
    bars, pace = snapshots.head("market/bars"), snapshots.head("features/pace")
    assert frozen.details["snapshots"] == [
        {"dataset": "market/bars", "version": 1, "fingerprint": bars.fingerprint},
        {"dataset": "features/pace", "version": 1, "fingerprint": pace.fingerprint},
    ]
    assert frozen.inputs == {"market/bars": bars.fingerprint, "features/pace": pace.fingerprint}
    assert frozen.details["features"] == ["mean_10d", "return_1d"]
    assert frozen.details["views"] == {"pace": "1.2.0"}
    query = frozen.details["query"]
    assert query["features"] == ["pace.mean_10d", "pace.return_1d"]
    assert query["views"] == {"pace": {"version": "1.2.0", "ttl_seconds": 7 * 86400.0}}
    assert query["label"] == {"price": "adjusted_close", "horizon_sessions": 3, "threshold": 0.0}
    assert frozen.details["statistics"]["mean_10d"]["nulls"] == 2 * 9
    pairs = {(one["feature1"], one["feature2"]) for one in frozen.details["correlation_matrix"]}
    assert pairs == {("mean_10d", "return_1d"), ("mean_10d", "forward_return"), ("return_1d", "forward_return")}
    json.dumps(frozen.details, allow_nan=False)


def test_what_came_since_does_not_move_a_frozen_set(tmp_path: Path):
    snapshots = store(tmp_path)
    frozen = freeze(snapshots)
    other = walk(("AAA", "BBB"), count=COUNT, seed=5).to_arrow()
    snapshots.publish("market/bars", other, provenance=Provenance(code_version="1", inputs={}), actor="test")
    publish_view(VIEW, {}, snapshots, code_version="1", actor="test")
    sources = sources_behind(frozen, {"pace": VIEW}, snapshots)
    assert [one.id for one in sources.used] == ["market/bars@1", "features/pace@1"]
    again = build_training_set(SPEC, sources.knowledge.rows, sources.values)
    assert again.equals(pl.DataFrame(snapshots.read(snapshots.get(SPEC.dataset, 1))))


@pytest.mark.parametrize("library", ["pyarrow", "duckdb"])
def test_years_later_one_library_and_the_manifest_are_enough(tmp_path: Path, library: str):
    frozen = freeze(store(tmp_path))
    paths = [str(tmp_path / "snapshots" / file.path) for file in frozen.files]
    if library == "pyarrow":
        table = pq.read_table(paths[0])
        columns, count = table.column_names, table.num_rows
        train = sum(1 for fold in table["fold"].to_pylist() if fold == "train")
    else:
        relation = duckdb.read_parquet(paths)
        columns, count = relation.columns, relation.shape[0]
        train = relation.filter("fold = 'train'").shape[0]
    assert columns[:4] == ["symbol", "date", "event_at", "known_at"]
    assert columns[4:6] == ["mean_10d", "return_1d"]
    assert (count, train) == (2 * COUNT, 2 * 97)
    with sqlite3.connect(tmp_path / "platform.db") as connection:
        (text,) = connection.execute("SELECT details FROM snapshot WHERE dataset = 'datasets/pace_daily'").fetchone()
    assert json.loads(text)["query"]["folds"]["embargo_sessions"] == 2


def test_freezing_the_same_again_is_no_new_version(tmp_path: Path):
    snapshots = store(tmp_path)
    assert freeze(snapshots) == freeze(snapshots)
    assert len(snapshots.history(SPEC.dataset)) == 1


def test_a_set_that_was_built_by_other_folds_than_are_declared_now_is_refused(tmp_path: Path):
    """A version trained on it would keep a declaration from which its rows do not come out again."""
    snapshots = store(tmp_path)
    frozen = freeze(snapshots)
    assert newest_of(SPEC, snapshots).fingerprint == frozen.fingerprint
    folds = Folds(train_until=DAYS[99], valid_until=DAYS[149], embargo_sessions=3)
    moved = replace(SPEC, folds=folds, label=Label(horizon_sessions=4))
    with pytest.raises(BuiltOtherwise, match=r"datasets/pace_daily was built before label, folds changed"):
        newest_of(moved, snapshots)
