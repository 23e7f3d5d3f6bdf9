"""Stores filled with two lines of things that share their bars: what a dossier is about, and what it is not about."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.evaluation.report import Kpi, SealedReport
from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.spec import Verdict
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.fingerprint import canonical_json, fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.checklist import Item, ItemStatus
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.settings import load_settings
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from mlops_assets.storage.sql import tables
from tests.rest.client import Services, gathered, with_people

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOSTILE = "<script>alert('dossier')</script>\"'&{{ 7*7 }}"


class World:
    """A home with its stores, and short ways to fill it."""

    def __init__(self, home: Path, *, at: datetime = AT) -> None:
        self.services = Services(load_settings(home=home, locale="en"), FixedClock(at=at))

    def who(self, name: str) -> Principal:
        return self.services.directory.principal(name)

    def publish(self, dataset: str, rows: list[dict[str, Any]], inputs: Mapping[str, str], **details: Any) -> Snapshot:
        """Publish rows; code versions differ by dataset, so that a walk can't confuse them."""
        provenance = Provenance(code_version=fingerprint(f"code of {dataset}"), inputs=inputs, details=details)
        return self.services.snapshots.publish(
            dataset, pa.Table.from_pylist(rows), provenance=provenance, actor="dagster"
        )

    def note(self, connection: sa.Connection, **change: Any) -> None:
        self.services.ledger.append(connection, Change(actor="dagster", **change))

    def line(self, name: str, bars: Snapshot, *, description: str = "What it is for, in words.") -> None:
        """Fill everything from a view to a prompt, all under one name."""
        view = self.publish(
            f"features/{name}_view",
            [{"symbol": name, "x": 1.0}],
            {"market/bars": bars.fingerprint},
            view_version="1.0.0",
        )
        self._vouch(name, view, bars)
        made_from = {"market/bars": bars.version, view.dataset: view.version}
        training = self.publish(
            f"datasets/{name}_daily",
            [{"symbol": name, "label": 1}],
            {"market/bars": bars.fingerprint, view.dataset: view.fingerprint},
            made_from=made_from,
        )
        model = self._model(name, training, description)
        inputs = {training.dataset: training.fingerprint, f"models/{name}": model.fingerprint}
        predictions = self.publish(f"predictions/{name}", [{"symbol": name, "probability": 0.5}], inputs)
        explanations = self.publish(f"explanations/{name}", [{"symbol": name, "shap": 0.1}], inputs)
        limits = [{"feature": f"{name}_x", "statistic": "psi", "value": 0.1, "threshold": 0.2}]
        drift = self.publish(f"drift/{name}/{name}_view", limits, {view.dataset: view.fingerprint})
        self._drifted(name, drift)
        report = self._report(name, bars, predictions, explanations, model)
        self._deployment(model, report)
        self._prompt(name, report)

    def approve(self, name: str, note: str = "looked at it") -> str:
        """Let two people approve the deployment of a line's model and return the request's id."""
        with self.services.database.read() as connection:
            table = tables.approval
            wanted = sa.select(table.c.id).where(table.c.subject == f"deployments/{name}@1/staging")
            approval_id = connection.scalars(wanted).one()
        for who in ("carol", "mo"):
            self.services.approvals.decide(approval_id, by=self.who(who), verdict=Verdict.APPROVE, note=note)
        return approval_id

    def approve_report(self, name: str) -> str:
        """Ask for the approval of a report by itself and override it as two people."""
        report = self.services.reports.latest(name)
        part = Part(name="report", kind=PartKind.REPORT, fingerprint=report.sha256)
        asked = self.services.approvals.request(
            subject=f"reports/{name}",
            tier=1,
            evidence=Evidence(parts=(part,)),
            authors=("dana",),
            by=self.who("quincy"),
        )
        for who in ("carol", "mo"):
            self.services.approvals.override(asked.id, by=self.who(who), reason=f"the market closes, {who}")
        return asked.id

    def _vouch(self, name: str, view: Snapshot, bars: Snapshot) -> None:
        registry = self.services.feature_registry
        registry.register_release(f"{name}_view", "1.0.0", fingerprint(f"release of {name}"), actor="dana")
        registry.record_certificate(
            view=f"{name}_view",
            version="1.0.0",
            snapshot_fingerprint=view.fingerprint,
            bars_fingerprint=bars.fingerprint,
            cuts=["2020-01-01"],
            rows_compared=3,
            peeks=[],
            is_clean=True,
            actor="dagster",
        )

    def _model(self, name: str, training: Snapshot, description: str) -> ModelVersion:
        version = ModelVersion(
            model=name,
            version=1,
            fingerprint=fingerprint(f"model {name}"),
            artifact_sha256=self.services.blobs.put(f"tree of {name}".encode()),
            training_set_fingerprint=training.fingerprint,
            code_version=fingerprint(f"code of model {name}"),
            run_id=f"run-{name}",
            stage="experimental",
            metadata={
                "description": description,
                "owner": "team:quant",
                "training_set": training.dataset,
                "declaration_fingerprint": fingerprint(f"declaration of {name}"),
                "library": "lightgbm 4",
            },
            metrics={"test/auc": 0.5},
            created_at=AT,
            created_by="dagster",
        )
        with self.services.database.begin() as connection:
            fields = {field: getattr(version, field) for field in ModelVersion.__dataclass_fields__}
            connection.execute(tables.model_version.insert().values(fields))
            self.note(connection, action="model_version.register", subject=version.id, after=version.fingerprint)
        return version

    def _drifted(self, name: str, drift: Snapshot) -> None:
        event, subject = fingerprint(f"drift event {name}"), drift.dataset
        with self.services.database.begin() as connection:
            connection.execute(
                tables.drift_event.insert().values(
                    id=event,
                    subject=subject,
                    metric_name=f"{name}_x:psi",
                    severity="high",
                    status="open",
                    message=f"{name} moved",
                    snapshot_fingerprint=drift.fingerprint,
                    detected_at=AT,
                )
            )
            self.note(connection, action="drift_event.open", subject=f"{subject}:{name}_x:psi", after=event)
        alert = Alert(
            key=f"drift:{name}", kind="drift", severity=Severity.HIGH, subject=subject, summary=f"{name} moved"
        )
        self.services.alerts.raise_alert(alert, by="dagster")

    def _report(
        self, name: str, bars: Snapshot, predictions: Snapshot, explanations: Snapshot, model: ModelVersion
    ) -> str:
        inputs = {
            "market/bars": bars.fingerprint,
            predictions.dataset: predictions.fingerprint,
            f"models/{name}": model.fingerprint,
            f"scenarios/{name}": fingerprint(f"scenario {name}"),
            f"strategies/{name}_ml": fingerprint(f"strategy {name}"),
        }
        result, replay_id = fingerprint(f"result of {name}"), fingerprint(inputs)
        with self.services.database.begin() as connection:
            row = {"scenario": name, "candidate": f"{name}_ml", "result_fingerprint": result, "inputs": inputs}
            checks = [{"check": "data_complete", "is_passed": True, "summary": "", "facts": {}}]
            connection.execute(
                tables.replay.insert().values(
                    id=replay_id, metrics={}, checks=checks, created_at=AT, created_by="dagster", **row
                )
            )
            subject = f"evaluation/{name}/{name}_ml"
            self.note(connection, action="replay.run", subject=subject, after=result, details={"replay": replay_id})
        self.publish(f"{subject}/fills", [{"symbol": name, "quantity": 1.0}], inputs)
        self.publish(subject, [{"equity": 1.0, "name": name}], inputs)
        of_report = {**inputs, subject: result, explanations.dataset: explanations.fingerprint}
        results = {f"{name}_ml": {"role": "candidate", "replay": replay_id}}
        record = {"name": name, "results": results, "gates": [], "inputs": of_report}
        sealed = SealedReport(
            name=name,
            record=canonical_json(record),
            html=f"<html>report of {name}</html>".encode(),
            kpis=(Kpi(key=f"{name}.{name}_ml.sharpe_ratio", value=0.8, unit="ratio"),),
            inputs=of_report,
        )
        return self.services.reports.seal(sealed, actor="dagster").sha256

    def _deployment(self, model: ModelVersion, report: str) -> None:
        item = Item(
            name=f"report.{model.model}", status=ItemStatus.PASSED, rule="a rule", note="it is", evidence=report
        )
        asked = gathered(model, item, tier=1, makers=frozenset({"dagster"}))
        self.services.deployments.request(asked, by=self.who("quincy"))

    def _prompt(self, name: str, report: str) -> None:
        prompt = fingerprint(f"prompt {name}")
        source = self.services.blobs.put(f"# System\n{name}".encode())
        services, dataset = self.services, f"prompts/{name}/1.0.0"
        row = {"prompt_id": name, "version": "1.0.0", "fingerprint": prompt, "content_sha256": source}
        provenance = Provenance(code_version=prompt, inputs={})
        services.snapshots.publish(dataset, pa.Table.from_pylist([row]), provenance=provenance, actor="dagster")
        inputs = {f"prompts/{name}@1.0.0": prompt, f"reports/{name}": report}
        outputs = self.publish(f"prompt_outputs/{name}/1.0.0", [{"answer": f"{name} is fine"}], inputs)
        evaluation, blob = fingerprint(f"evaluation {name}"), services.blobs.put(f'{{"of": "{name}"}}'.encode())
        findings = {"evaluation_sha256": blob, "report_sha256": report, "rules": {}, "failures": []}
        with services.database.begin() as connection:
            connection.execute(
                tables.prompt_evaluation.insert().values(
                    id=evaluation,
                    prompt_id=name,
                    version="1.0.0",
                    prompt_fingerprint=prompt,
                    outputs_fingerprint=outputs.fingerprint,
                    is_passed=True,
                    findings=findings,
                    created_at=AT,
                    created_by="dagster",
                )
            )
            subject = f"prompt_evaluations/{name}@1.0.0"
            self.note(connection, action="prompt_evaluation.record", subject=subject, after=evaluation)


@cache
def _filled() -> Path:
    """Fill a home once; tests get copies of it."""
    home = Path(mkdtemp(prefix="mlops-dossier-")) / "home"
    home.mkdir()
    world = World(home)
    world.services.database.migrate()
    with_people(world.services)
    bars = world.publish("market/bars", [{"symbol": "AAA", "close": 1.0}], {"source/sample": fingerprint("sample")})
    world.line("alpha", bars, description=f"Alpha {HOSTILE}")
    world.line("beta", bars)
    world.approve("alpha", note=HOSTILE)
    world.approve_report("alpha")
    world.services.database.dispose()
    return home


def filled_world(folder: Path) -> World:
    """Return a world of its own with the lines alpha and beta; alpha is approved, its report by override."""
    shutil.copytree(_filled(), folder / "home")
    return World(folder / "home")
