"""Which rows the stores hold, as things: one function a table, over one connection, so that all see one moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from mlops_assets.dossier.things import Input, Thing, ThingKind
from mlops_assets.storage.sql import tables

Row = Mapping[str, Any]


def rows(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    """Return the rows of a table, by its primary key."""
    statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
    return [dict(row) for row in connection.execute(statement).mappings()]


def snapshots(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return versions of datasets. Two may hold the same content, so their fingerprint names no single one."""
    return [
        Thing(
            kind=ThingKind.SNAPSHOT,
            id=f"{row['dataset']}@{row['version']}",
            fingerprint=row["fingerprint"],
            row={**row, "files": _files(connection, row)},
            made_at=row["created_at"],
            made_by=row["created_by"],
            unique=False,
            subject=f"{row['dataset']}@{row['version']}",
            seq=row["ledger_seq"],
            inputs=_inputs(row["inputs"]),
        )
        for row in rows(connection, tables.snapshot, *where)
    ]


def models(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return registered versions of models."""
    return [
        Thing(
            kind=ThingKind.MODEL,
            id=f"models/{row['model']}@{row['version']}",
            fingerprint=row["fingerprint"],
            row=row,
            made_at=row["created_at"],
            made_by=row["created_by"],
            subject=f"models/{row['model']}@{row['version']}",
            inputs=(Input(name=training_set_of(row), fingerprint=row["training_set_fingerprint"]),),
        )
        for row in rows(connection, tables.model_version, *where)
    ]


def training_set_of(model: Row) -> str:
    """Return the dataset a version learned from; what was registered without its name says so."""
    return str(model["metadata"].get("training_set", "datasets/(not named)"))


def replays(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return replays; their id is the fingerprint of what decided them."""
    return [
        Thing(
            kind=ThingKind.REPLAY,
            id=f"evaluation/{row['scenario']}/{row['candidate']}@{row['id'][:12]}",
            fingerprint=row["id"],
            row=row,
            made_at=row["created_at"],
            made_by=row["created_by"],
            inputs=_inputs(row["inputs"]),
        )
        for row in rows(connection, tables.replay, *where)
    ]


def reports(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return sealed reports with their KPIs."""
    kpi = tables.report_kpi
    return [
        Thing(
            kind=ThingKind.REPORT,
            id=f"reports/{row['name']}@{row['sha256'][:12]}",
            fingerprint=row["sha256"],
            row={**row, "kpis": rows(connection, kpi, kpi.c.report_sha256 == row["sha256"])},
            made_at=row["created_at"],
            made_by=row["created_by"],
            inputs=_inputs(row["inputs"]),
        )
        for row in rows(connection, tables.report, *where)
    ]


def evaluations(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return evaluations of prompts, and the report that each compared numbers with."""
    return [
        Thing(
            kind=ThingKind.EVALUATION,
            id=f"prompt_evaluations/{row['prompt_id']}@{row['version']}/{row['id'][:12]}",
            fingerprint=row["id"],
            row=row,
            made_at=row["created_at"],
            made_by=row["created_by"],
            inputs=_compared_with(connection, row["findings"].get("report_sha256")),
        )
        for row in rows(connection, tables.prompt_evaluation, *where)
    ]


def deployments(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return requests to deploy with their checklists."""
    return [
        Thing(
            kind=ThingKind.DEPLOYMENT,
            id=f"deployments/{row['model']}@{row['model_version']}/{row['environment']}/{row['id'][:12]}",
            fingerprint=row["id"],
            row=row,
            made_at=row["created_at"],
            made_by=row["created_by"],
        )
        for row in rows(connection, tables.deployment, *where)
    ]


def deployment_subject(deployment: Row) -> str:
    """Return what approvals of a deployment are about."""
    return f"deployments/{deployment['model']}@{deployment['model_version']}/{deployment['environment']}"


def releases(connection: sa.Connection, view: str, version: str) -> list[Thing]:
    """Return the registered release of a view's version."""
    table = tables.feature_release
    return [
        Thing(
            kind=ThingKind.RELEASE,
            id=f"feature_releases/{view}@{version}",
            fingerprint=row["fingerprint"],
            row=row,
            made_at=row["registered_at"],
            made_by=row["registered_by"],
            seq=row["ledger_seq"],
        )
        for row in rows(connection, table, table.c.view == view, table.c.version == version)
    ]


def certificates(connection: sa.Connection, view: str, snapshot_fingerprint: str) -> list[Thing]:
    """Return what the look-ahead checks found of a view's snapshot."""
    table = tables.look_ahead_certificate
    return [
        Thing(
            kind=ThingKind.CERTIFICATE,
            id=f"look_ahead_certificates/{view}@{row['fingerprint'][:12]}",
            fingerprint=row["fingerprint"],
            row=row,
            made_at=row["issued_at"],
            made_by=row["issued_by"],
            unique=False,
            seq=row["ledger_seq"],
        )
        for row in rows(connection, table, table.c.view == view, table.c.snapshot_fingerprint == snapshot_fingerprint)
    ]


def drift_events(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return drift events."""
    return [
        Thing(
            kind=ThingKind.DRIFT_EVENT,
            id=f"drift_events/{row['subject']}/{row['id'][:12]}",
            fingerprint=row["id"],
            row=row,
            made_at=row["detected_at"],
            made_by="",
        )
        for row in rows(connection, tables.drift_event, *where)
    ]


def alerts(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Thing]:
    """Return alerts."""
    return [
        Thing(
            kind=ThingKind.ALERT,
            id=f"alerts/{row['id'][:12]}",
            fingerprint=row["id"],
            row=row,
            made_at=row["raised_at"],
            made_by="",
            seq=row["ledger_seq"],
        )
        for row in rows(connection, tables.alert, *where)
    ]


def naming(column: sa.Column[Any], fingerprint: str) -> sa.ColumnElement[bool]:
    """Return the condition that a JSON column contains a fingerprint somewhere."""
    return sa.cast(column, sa.Text).contains(fingerprint, autoescape=True)


def _files(connection: sa.Connection, row: Row) -> list[dict[str, Any]]:
    table = tables.snapshot_file
    found = rows(connection, table, table.c.dataset == row["dataset"], table.c.version == row["version"])
    return sorted(found, key=lambda file: file["position"])


def _compared_with(connection: sa.Connection, sha256: str | None) -> tuple[Input, ...]:
    """Return the report that the numbers of answers were compared with."""
    if sha256 is None:
        return ()
    name = connection.scalar(sa.select(tables.report.c.name).where(tables.report.c.sha256 == sha256))
    return (Input(name=f"reports/{name or '(gone)'}", fingerprint=sha256),)


def _inputs(named: Mapping[str, str]) -> tuple[Input, ...]:
    return tuple(Input(name=name, fingerprint=value) for name, value in sorted(named.items()))
