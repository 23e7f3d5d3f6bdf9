"""How an asset and its MLflow run name each other: tags that lead to Dagster, metadata that leads to MLflow."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Mapping

import dagster as dg

from mlops_assets.lifecycle.tracking.source_commit import commit_of
from mlops_assets.lifecycle.tracking.tracking import DAGSTER_RUN_TAG, RunKey, Tracking

_SHOWN_OF_AN_ID = 8


def run_key(context: dg.AssetExecutionContext, asset: str) -> RunKey:
    """Return what the MLflow run of this step is of; a retried or re-executed step is of the same."""
    root = context.run.root_run_id or context.run.run_id
    return RunKey(asset=asset, root_run_id=root, partition=_partition(context))


def run_tags(
    context: dg.AssetExecutionContext,
    tracking: Tracking,
    *,
    asset: str,
    description: str,
    code_version: str,
    declaration: str,
    actor: str,
) -> dict[str, str]:
    """Return the tags of the MLflow run of this step. Those that MLflow's own UI shows have MLflow's names.

    Args:
        declaration: version and fingerprint of the declaration.
    """
    run_id, partition = context.run.run_id, _partition(context)
    run_page, asset_page = tracking.links.dagster_run(run_id), tracking.links.dagster_asset(asset, partition)
    commit = None if tracking.source_tree is None else commit_of(tracking.source_tree)
    known = {
        DAGSTER_RUN_TAG: run_id,
        "dagster.root_run_id": context.run.root_run_id or run_id,
        "dagster.job": context.run.job_name,
        "dagster.asset": asset,
        "dagster.partition": partition,
        "dagster.url": run_page,
        "dagster.asset_url": asset_page,
        "mlops.code_version": code_version,
        "mlops.declaration": declaration,
        "mlflow.source.name": asset,
        "mlflow.source.type": "JOB",
        "mlflow.source.git.commit": commit,
        "mlflow.user": actor,
        "mlflow.note.content": _note(context, description, run_page=run_page, asset_page=asset_page, asset=asset),
    }
    return {name: value for name, value in known.items() if value}


def mlflow_metadata(tracking: Tracking, run_id: str) -> Mapping[str, dg.MetadataValue]:
    """Return what the asset's page says of the MLflow run: its id, and its page or how to open it."""
    page = tracking.url(run_id)
    opened = dg.MetadataValue.text(tracking.links.how_to_open) if page is None else dg.MetadataValue.url(page)
    return {"mlflow_run_id": dg.MetadataValue.text(run_id), "mlflow": opened}


def _note(
    context: dg.AssetExecutionContext, description: str, *, run_page: str | None, asset_page: str | None, asset: str
) -> str:
    """Return the run's description as MLflow shows it, in Markdown."""
    where = [
        _link(f"Dagster run {context.run.run_id[:_SHOWN_OF_AN_ID]}", run_page),
        _link(asset, asset_page),
        *([f"partition {_partition(context)}"] if _partition(context) else []),
    ]
    return f"{description}\n\nMade by {', '.join(where)}."


def _link(words: str, page: str | None) -> str:
    return words if page is None else f"[{words}]({page})"


def _partition(context: dg.AssetExecutionContext) -> str:
    if context.has_partition_key:
        return str(context.partition_key)
    if context.has_partition_key_range:
        return f"{context.partition_key_range.start}...{context.partition_key_range.end}"
    return ""
