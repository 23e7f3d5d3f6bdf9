"""What an asset says of itself before it ever ran: key, code version, columns, lineage, file of its declaration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import fingerprint, source_fingerprint

ENGINES = ("lightgbm", "numpy", "polars", "pyarrow", "scikit-learn", "scipy")


def key(dataset: str) -> dg.AssetKey:
    """Return the asset key of a dataset: `features/momentum` is `AssetKey(["features", "momentum"])`."""
    return dg.AssetKey(dataset.split("/"))


def code_version(declaration: str, *rule_modules: str) -> str:
    """Return a version that moves with the declaration, the source of its rules, or the engines below them."""
    return fingerprint(
        {"declaration": declaration, "rules": source_fingerprint(*rule_modules), "engines": engine_versions()}
    )


@cache
def engine_versions() -> dict[str, str]:
    """Return the installed versions of the libraries whose results differ in the last bit between versions."""
    return {name: version(name) for name in ENGINES}


def asset_metadata(
    *,
    file: Path,
    columns: Sequence[Column] = (),
    lineage: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> dict[str, Any]:
    """Return column schema, column lineage (column → upstream dataset and column) and the declaration's file."""
    metadata: dict[str, Any] = {"dagster/code_references": _reference(file)}
    if columns:
        metadata["dagster/column_schema"] = dg.TableSchema(columns=[_table_column(column) for column in columns])
    if lineage:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            deps_by_column={
                column: [dg.TableColumnDep(asset_key=key(dataset), column_name=name) for dataset, name in sources]
                for column, sources in lineage.items()
            }
        )
    return metadata


def _reference(file: Path) -> dg.CodeReferencesMetadataValue:
    """Point at the declaration: a factory would make every asset point at the factory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # this is the one place that uses code references
        return dg.CodeReferencesMetadataValue(
            code_references=[dg.LocalFileCodeReference(file_path=str(file), line_number=1, label=file.name)]
        )


def _table_column(column: Column) -> dg.TableColumn:
    notes = [column.description, f"Unit: {column.unit}." if column.unit else "", column.formula]
    return dg.TableColumn(
        name=column.name,
        type=column.type,
        description=" ".join(note for note in notes if note),
        constraints=dg.TableColumnConstraints(nullable=column.is_nullable, other=_range(column)),
        tags={"unit": column.unit.replace(" ", "_")} if column.unit else None,
    )


def _range(column: Column) -> list[str]:
    low = [] if column.minimum is None else [f">= {column.minimum:g}"]
    return low if column.maximum is None else [*low, f"<= {column.maximum:g}"]
