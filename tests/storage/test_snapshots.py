from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import file_sha256
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet import snapshots as module
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql import tables
from mlops_assets.storage.sql.database import Database

MADE_BY = Provenance(code_version="c1", inputs={"market/bars": "f1"})


def table(*values: float) -> pa.Table:
    return pa.table({"value": list(values)})


def publish(store: SnapshotStore, *values: float, provenance: Provenance = MADE_BY) -> Snapshot:
    return store.publish("features/momentum", table(*values), provenance=provenance, actor="ana")


def test_a_published_version_reads_back_equal_and_older_ones_stay(snapshots: SnapshotStore):
    first, second = publish(snapshots, 1.0), publish(snapshots, 2.0, 3.0)
    assert snapshots.read(first).equals(table(1.0))
    assert snapshots.read(snapshots.head("features/momentum")).equals(table(2.0, 3.0))
    assert (second.version, second.parent, second.row_count) == (2, 1, 2)
    assert snapshots.history("features/momentum") == [first, second]


def test_a_head_of_the_same_number_in_a_database_put_in_its_place_is_another_one(
    snapshots: SnapshotStore, database: Database, ledger: Ledger, clock: FixedClock, tmp_path: Path
):
    """As a restored backup has it: what was read before of that number is not told again."""
    publish(snapshots, 1.0)
    with database.begin() as connection:
        for one in (tables.dataset_head, tables.snapshot_file, tables.snapshot):
            connection.execute(sa.delete(one))
    assert snapshots.find_head("features/momentum") is None
    published = publish(SnapshotStore(tmp_path / "snapshots", database, ledger, clock), 2.0)
    assert (published.version, snapshots.find_head("features/momentum")) == (1, published)


def test_publishing_the_same_again_makes_no_version(snapshots: SnapshotStore):
    assert publish(snapshots, 1.0) == publish(snapshots, 1.0)
    assert len(snapshots.history("features/momentum")) == 1


def test_the_same_rows_from_other_inputs_are_a_new_version_of_equal_content(snapshots: SnapshotStore):
    first = publish(snapshots, 1.0)
    second = publish(snapshots, 1.0, provenance=Provenance(code_version="c2", inputs={}))
    assert second.version == 2
    assert second.fingerprint == first.fingerprint


def test_a_files_name_is_the_hash_of_its_bytes(snapshots: SnapshotStore):
    (path,) = snapshots.paths(publish(snapshots, 1.0))
    assert path.name == f"{file_sha256(path)}.parquet"
    assert pq.read_table(path).equals(table(1.0))


@pytest.mark.parametrize("damage", ["flip a bit", "truncate", "remove"])
def test_a_damaged_file_is_refused_and_publishing_again_mends_it(snapshots: SnapshotStore, damage: str):
    published = publish(snapshots, 1.0, 2.0)
    (path,) = snapshots.paths(published)
    content = bytearray(path.read_bytes())
    if damage == "flip a bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(IntegrityViolation, match="features/momentum@1"):
        snapshots.read(published)
    publish(snapshots, 1.0, 2.0)
    assert snapshots.read(published).equals(table(1.0, 2.0))


def test_a_publish_over_a_moved_head_is_refused_and_leaves_nothing(snapshots: SnapshotStore, database: Database):
    class Rival(SnapshotStore):
        """Reads the head, then lets somebody else publish before it commits."""

        def find_head(self, dataset: str) -> Snapshot | None:
            head = super().find_head(dataset)
            publish(snapshots, 5.0)
            return head

    publish(snapshots, 1.0)
    rival = Rival(snapshots.root, database, snapshots._journal, snapshots._clock)
    with pytest.raises(Conflict, match="Nothing was published"):
        publish(rival, 9.0)
    assert snapshots.read(snapshots.head("features/momentum")).equals(table(5.0))
    names = {path.name for path in (snapshots.root / "features/momentum").iterdir()}
    assert names == {
        ".lock",
        *(Path(file.path).name for one in snapshots.history("features/momentum") for file in one.files),
    }


def test_two_publishers_of_the_same_content_both_succeed(snapshots: SnapshotStore, database: Database):
    class Twin(SnapshotStore):
        """Reads the head, then another process publishes the very same."""

        def find_head(self, dataset: str) -> Snapshot | None:
            head = super().find_head(dataset)
            publish(snapshots, 9.0)
            return head

    publish(snapshots, 1.0)
    twin = Twin(snapshots.root, database, snapshots._journal, snapshots._clock)
    assert publish(twin, 9.0) == snapshots.head("features/momentum")
    assert len(snapshots.history("features/momentum")) == 2


def test_a_slow_run_does_not_publish_over_what_was_made_from_newer_inputs(snapshots: SnapshotStore):
    def bars(*values: float) -> str:
        provenance = Provenance(code_version="b", inputs={})
        return snapshots.publish("market/bars", table(*values), provenance=provenance, actor="ana").fingerprint

    old = bars(1.0)
    publish(snapshots, 10.0, provenance=Provenance(code_version="c1", inputs={"market/bars": old}))
    new = bars(2.0)
    newest = publish(snapshots, 20.0, provenance=Provenance(code_version="c1", inputs={"market/bars": new}))
    with pytest.raises(Conflict, match=r"made from the current market/bars \(market/bars@2\)"):
        publish(snapshots, 11.0, provenance=Provenance(code_version="c1", inputs={"market/bars": old}))
    assert snapshots.head("features/momentum") == newest
    # Going back is fine once the input itself has gone back.
    again = bars(1.0)
    assert again == old
    publish(snapshots, 11.0, provenance=Provenance(code_version="c1", inputs={"market/bars": old}))
    assert snapshots.read(snapshots.head("features/momentum")).equals(table(11.0))


def test_a_sweep_keeps_out_while_a_writer_is_at_work(snapshots: SnapshotStore):
    publish(snapshots, 1.0)
    folder = snapshots.root / "features/momentum"
    (folder / "unnamed.parquet").write_bytes(b"not yet in the manifest")
    with module.writing(folder):
        assert snapshots.sweep("features/momentum") == []
    assert [path.name for path in snapshots.sweep("features/momentum")] == ["unnamed.parquet"]


def test_an_unknown_dataset_says_what_to_do(snapshots: SnapshotStore):
    with pytest.raises(NotFound, match="Materialise the asset features/nothing first"):
        snapshots.head("features/nothing")


def test_every_version_has_its_ledger_entry(snapshots: SnapshotStore, database: Database):
    published = publish(snapshots, 1.0)
    with database.read() as connection:
        statement = sa.text("SELECT action, subject, after FROM ledger_entry WHERE seq = :seq")
        row = connection.execute(statement, {"seq": published.ledger_seq}).one()
    assert tuple(row) == ("snapshot.publish", "features/momentum@1", published.fingerprint)


def publish_chunks(store: SnapshotStore, *chunks: pa.Table | SnapshotFile) -> Snapshot:
    return store.publish("features/momentum", chunks, provenance=MADE_BY, actor="ana")


def test_details_are_kept_and_are_no_part_of_the_identity(snapshots: SnapshotStore):
    said = Provenance(code_version="c1", inputs={"market/bars": "f1"}, details={"view_version": "1.0.0", "rows": [1]})
    first = publish(snapshots, 1.0, provenance=said)
    assert first.details == snapshots.head("features/momentum").details == {"view_version": "1.0.0", "rows": [1]}
    assert publish(snapshots, 1.0) == first


def test_chunks_are_files_in_their_order_that_read_as_one_table(snapshots: SnapshotStore):
    published = publish_chunks(snapshots, table(3.0), table(1.0, 2.0), table(9.0))
    assert [file.row_count for file in snapshots.head("features/momentum").files] == [1, 2, 1]
    assert snapshots.head("features/momentum") == published
    assert snapshots.read(published).equals(table(3.0, 1.0, 2.0, 9.0).combine_chunks())
    assert published.fingerprint != publish_chunks(snapshots, table(1.0, 2.0), table(3.0), table(9.0)).fingerprint


def test_one_chunk_is_the_same_content_as_its_table(snapshots: SnapshotStore):
    assert publish_chunks(snapshots, table(1.0)) == publish(snapshots, 1.0)


def test_a_fingerprint_is_what_it_was_before_there_were_chunks(snapshots: SnapshotStore):
    """The identity of a table of one file: its schema and the hash of its bytes, computed here without our code."""
    from hashlib import sha256

    published = publish(snapshots, 1.0)
    (path,) = snapshots.paths(published)
    digest = sha256(path.read_bytes()).hexdigest()
    said = f'{{"files":["{digest}"],"schema":{{"value":"double"}}}}'
    assert published.fingerprint == sha256(said.encode()).hexdigest()


@pytest.mark.parametrize("is_shared_by_name", [True, False])
def test_an_unchanged_chunk_is_not_written_again(snapshots: SnapshotStore, is_shared_by_name: bool):
    first = publish_chunks(snapshots, table(1.0), table(2.0))
    before = snapshots.paths(first)[0].stat()
    second = publish_chunks(snapshots, first.files[0] if is_shared_by_name else table(1.0), table(2.5))
    after = snapshots.paths(second)[0].stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert second.files[0] == first.files[0]
    assert snapshots.read(first).equals(pa.concat_tables([table(1.0), table(2.0)]))
    assert snapshots.read(second).equals(pa.concat_tables([table(1.0), table(2.5)]))


def test_a_damaged_shared_chunk_is_refused_by_name_and_mended_by_its_rows(snapshots: SnapshotStore):
    first = publish_chunks(snapshots, table(1.0), table(2.0))
    snapshots.paths(first)[0].write_bytes(b"damaged")
    with pytest.raises(IntegrityViolation):
        publish_chunks(snapshots, first.files[0], table(3.0))
    assert snapshots.head("features/momentum") == first
    publish_chunks(snapshots, table(1.0), table(3.0))
    assert snapshots.read(first)["value"].to_pylist() == [1.0, 2.0]


def test_files_say_which_events_they_hold(snapshots: SnapshotStore):
    def at(*days: int) -> pa.Table:
        instants = [datetime(2024, 5, day, 20, tzinfo=UTC) for day in days]
        return pa.table({"event_at": pa.array(instants, pa.timestamp("us", tz="UTC"))})

    publish_chunks(snapshots, at(3, 2), at(6))
    found = snapshots.head("features/momentum").files
    bounds = [(file.first_at.day, file.last_at.day) for file in found if file.first_at and file.last_at]
    assert bounds == [(2, 3), (6, 6)]
    assert publish(snapshots, 1.0).files[0].first_at is None


@pytest.mark.parametrize(
    ("chunks", "problem"),
    [
        ([], "there is no chunk to publish"),
        ([table(1.0), pa.table({"value": [1]})], "chunk 2 has another schema than the first, see value"),
        ([table(1.0), table(1.0)], "two chunks hold the same rows"),
    ],
)
def test_chunks_that_make_no_table_publish_nothing(
    snapshots: SnapshotStore, chunks: Sequence[pa.Table | SnapshotFile], problem: str
):
    first = publish(snapshots, 5.0)
    with pytest.raises(ValueError, match=problem):
        publish_chunks(snapshots, *chunks)
    assert snapshots.history("features/momentum") == [first]
    names = {path.name for path in (snapshots.root / "features/momentum").iterdir()}
    assert names == {".lock", Path(first.files[0].path).name}


def test_a_file_that_is_not_of_the_head_any_more_is_a_conflict(snapshots: SnapshotStore):
    first = publish_chunks(snapshots, table(1.0), table(2.0))
    second = publish_chunks(snapshots, table(1.0), table(3.0))
    with pytest.raises(Conflict, match="is no file of its head"):
        publish_chunks(snapshots, *first.files)
    assert snapshots.head("features/momentum") == second


def test_a_sweep_keeps_what_any_version_names(snapshots: SnapshotStore):
    first = publish_chunks(snapshots, table(1.0), table(2.0))
    publish_chunks(snapshots, table(1.0), table(3.0))
    snapshots.sweep("features/momentum")
    assert snapshots.read(first)["value"].to_pylist() == [1.0, 2.0]
