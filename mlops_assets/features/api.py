"""Which datasets exist and what is in them, over HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from mlops_assets.features.spec import KEY_COLUMNS
from mlops_assets.features.statistics import correlations
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 100
_CACHED_DETAILS = 64
_KEYS = frozenset(column.name for column in KEY_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What the declaration behind a dataset says of it."""

    description: str
    owner: str
    tags: tuple[str, ...] = ()


NOT_DECLARED = DatasetFacts(description="A table that the platform derives.", owner="team:mlops")

_EXAMPLE: dict[str, Any] = {
    "id": "features.momentum",
    "name": "features/momentum",
    "description": "Returns and trend indicators of daily closes.",
    "source_type": "parquet",
    "table_name": "features.momentum",
    "schema": {"symbol": "string", "date": "date32[day]", "return_1d": "double"},
    "features": ["return_1d"],
    "views": {"momentum": "1.0.0"},
    "row_count": 166260,
    "size_bytes": 9813410,
    "column_count": 3,
    "tags": ["price"],
    "owner": "team:quant",
    "version": 1,
    "fingerprint": "0f343b0931126a20f133d67c2b018a3b5e2c5f3f8b7b7a51f1a3a5d5a0b3f2c1",
    "created_at": "2024-05-02T21:30:00Z",
    "updated_at": "2024-05-02T21:30:00Z",
    "last_accessed_at": None,
}


class Dataset(BaseModel):
    """A published table. `id` is also its name in SQL; `created_at` is that of its first version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    name: str
    description: str
    source_type: Literal["duckdb", "csv", "parquet", "mongodb", "api"]
    table_name: str
    column_types: Mapping[str, str] = Field(alias="schema")
    features: list[str]
    views: dict[str, str] = Field(default_factory=dict, description="The versions of the feature views in it.")
    row_count: int
    size_bytes: int
    column_count: int
    tags: list[str]
    owner: str
    version: int
    fingerprint: str
    created_at: datetime
    updated_at: datetime
    last_accessed_at: datetime | None = Field(default=None, description="Not recorded: reading leaves no trace.")


class Datasets(BaseModel):
    """A page of datasets and how many there are in all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"datasets": [_EXAMPLE], "total": 1}]})

    datasets: list[Dataset]
    total: int


class Correlation(BaseModel):
    """How two columns move together (Pearson); None where one of them does not move."""

    feature1: str
    feature2: str
    correlation: float | None


class DatasetDetail(Dataset):
    """A dataset with its first rows, its columns in figures, and the correlations of its numbers over complete rows.

    A frozen training set says what was asked (`query`) and of which snapshots.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_EXAMPLE,
                    "sample_data": [{"symbol": "AAPL", "date": "1990-01-02", "return_1d": 0.0123}],
                    "correlation_matrix": [
                        {"feature1": "return_1d", "feature2": "return_5d", "correlation": 0.43},
                    ],
                    "statistics": {"return_1d": {"count": 166240, "nulls": 20, "mean": 0.0008, "std": 0.0241}},
                    "query": {},
                    "snapshots": [],
                }
            ]
        }
    )

    sample_data: list[dict[str, Any]]
    correlation_matrix: list[Correlation]
    statistics: dict[str, dict[str, Any]] = Field(default_factory=dict)
    query: dict[str, Any] = Field(default_factory=dict)
    snapshots: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(slots=True)
class DatasetPages:
    """Reads datasets for the routes. What a snapshot says of itself is used; the rest is computed once and kept."""

    snapshots: SnapshotStore
    declared: Mapping[str, DatasetFacts]
    _details: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]], init=False)

    def page(self, skip: int, limit: int) -> Datasets:
        heads = self.snapshots.heads()
        return Datasets(datasets=[self._dataset(head) for head in heads[skip : skip + limit]], total=len(heads))

    def detail(self, dataset_id: str) -> DatasetDetail:
        """Return one dataset.

        Raises:
            NotFound: naming the datasets there are.
        """
        by_id = {table_name(head.dataset): head for head in self.snapshots.heads()}
        if (head := by_id.get(dataset_id)) is None:
            known = ", ".join(by_id) or "none yet"
            raise NotFound(kind="dataset", name=dataset_id, remedy=f"Published datasets: {known}.")
        if head.fingerprint not in self._details:
            if len(self._details) >= _CACHED_DETAILS:
                self._details.pop(next(iter(self._details)))
            self._details[head.fingerprint] = _look_into(self.snapshots, head)
        fields = self._dataset(head).model_dump(by_alias=True)
        said = {name: head.details[name] for name in ("statistics", "query", "snapshots") if name in head.details}
        return DatasetDetail.model_validate({**fields, **self._details[head.fingerprint], **said})

    def _dataset(self, head: Snapshot) -> Dataset:
        facts = self.declared.get(head.dataset, NOT_DECLARED)
        first = head if head.parent is None else self.snapshots.get(head.dataset, 1)
        return Dataset.model_validate(
            {
                "id": table_name(head.dataset),
                "name": head.dataset,
                "description": facts.description,
                "source_type": "parquet",
                "table_name": table_name(head.dataset),
                "schema": head.schema,
                "features": _features_of(head),
                "views": head.details.get("views", {}),
                "row_count": head.row_count,
                "size_bytes": head.byte_count,
                "column_count": len(head.schema),
                "tags": facts.tags,
                "owner": facts.owner,
                "version": head.version,
                "fingerprint": head.fingerprint,
                "created_at": first.created_at,
                "updated_at": head.created_at,
            }
        )


def router(pages: DatasetPages) -> APIRouter:
    """Return the routes of the feature store."""
    routes = APIRouter(tags=["features"])

    @routes.get("/datasets")
    def list_datasets(
        skip: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=100)] = 50
    ) -> Datasets:
        """List the published datasets by name."""
        return pages.page(skip, limit)

    @routes.get("/datasets/{dataset_id}")
    def show_dataset(dataset_id: str) -> DatasetDetail:
        """Show one dataset with its first 100 rows and the correlations of its number columns."""
        return pages.detail(dataset_id)

    return routes


def table_name(dataset: str) -> str:
    """Return the name of a dataset's view in the DuckDB file: `a/b/c` is `a.b__c`."""
    schema, _, rest = dataset.partition("/")
    return f"{schema}.{rest.replace('/', '__')}"


def sample_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the first rows in JSON's types; a number that JSON does not know is None."""
    return [{name: _plain(value) for name, value in row.items()} for row in table.slice(0, SAMPLE_ROWS).to_pylist()]


def _features_of(head: Snapshot) -> list[str]:
    """Return the columns of a dataset that are features: a frozen training set says which, else all its numbers."""
    said = head.details.get("features")
    if isinstance(said, Sequence) and not isinstance(said, str):
        return [str(name) for name in said]
    return [name for name, type_ in head.schema.items() if type_ == "double" and name not in _KEYS]


def _look_into(snapshots: SnapshotStore, head: Snapshot) -> dict[str, Any]:
    """Return the first rows and the correlations; only the first file is read if the snapshot says the latter."""
    if (said := head.details.get("correlation_matrix")) is not None:
        return {"sample_data": sample_rows(_first_rows(snapshots, head)), "correlation_matrix": said}
    table = snapshots.read(head)
    numbers = [one.name for one in table.schema if str(one.type) == "double" and one.name not in _KEYS]
    matrix = correlations(pl.DataFrame(table.select(numbers)), numbers)
    return {"sample_data": sample_rows(table), "correlation_matrix": matrix}


def _first_rows(snapshots: SnapshotStore, head: Snapshot) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(snapshots.verified_path(head, head.files[0])) as file:
        batches = list(islice(file.iter_batches(batch_size=SAMPLE_ROWS), 1))
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: object) -> Json:
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    return value if isinstance(value, str | int | bool | None) else str(value)
