"""Runs historical retrievals with Feast's DuckDB store: `python feast_runner.py jobs.json`, in Feast's environment.

It knows nothing of our package. A job is JSON: `folder` to work in, `views` (name, path or pattern of Parquet files,
columns, ttl_seconds), `entities` (Parquet with symbol and event_timestamp), `features` as `view:column`, `full_names`,
`filter_by_created` and `output` (Parquet). Its last line is JSON: for each job the CPU seconds of the retrieval alone,
without imports and registration, and the peak of memory so far.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.data_format import ParquetFormat
from feast.types import Float64, String
from feast.value_type import ValueType


def run(job: dict) -> dict:
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="peer",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store=None,
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=view["name"],
            entities=[symbol],
            ttl=timedelta(seconds=view["ttl_seconds"]),
            schema=[Field(name="symbol", dtype=String), *(Field(name=one, dtype=Float64) for one in view["columns"])],
            source=FileSource(
                name=f"{view['name']}_source",
                path=view["path"],
                file_format=ParquetFormat(),
                timestamp_field="event_at",
                created_timestamp_column="known_at",
            ),
            online=False,
        )
        for view in job["views"]
    ]
    store.apply([symbol, *views])
    entities: pd.DataFrame = pq.read_table(job["entities"]).to_pandas()
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = store.get_historical_features(
        entity_df=entities,
        features=job["features"],
        full_feature_names=job.get("full_names", False),
        filter_by_created_timestamp=job.get("filter_by_created", False),
    ).to_arrow()
    after = resource.getrusage(resource.RUSAGE_SELF)
    pq.write_table(found, job["output"])
    return {
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": peak_bytes(),
        "rows": found.num_rows,
    }


def peak_bytes() -> int:
    """Return the peak of this process since it began; ru_maxrss would count that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    said = [run(job) for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    sys.stdout.write(f"{json.dumps(said)}\n")
