"""An API over stores on a temporary folder, asked in this process."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from fastapi import FastAPI

from mlops_assets.evaluation.report import Kpi, SealedReport
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.checklist import Checklist, Item, ItemStatus
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.rest.app import create_app
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.lifecycle.worlds import spec as signal_spec

QUANT = Principal(name="quincy", roles=frozenset({Role.QUANT}))
PEOPLE = {
    "quincy": Role.QUANT,
    "quinn": Role.QUANT,
    "dana": Role.DATA_ENGINEER,
    "mo": Role.MLOPS,
    "max": Role.MLOPS,
    "carol": Role.COMPLIANCE,
    "vi": Role.VIEWER,
    "ada": Role.ADMIN,
}


class MovingClock:
    """A clock that a test moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def at_once(*questions: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Ask all of them at the same instant, each from its own thread."""
    barrier = threading.Barrier(len(questions))

    def ask(question: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait(timeout=30)
        return question()

    with ThreadPoolExecutor(len(questions)) as threads:
        return list(threads.map(ask, questions))


def token_of(name: str) -> str:
    """Return the token that stands for somebody in these tests."""
    return f"a-token-of-{name}-in-the-tests"


TOKEN = token_of("quincy")
SHA256 = "ab" * 32


@dataclass(frozen=True)
class Api:
    """Asks routes as somebody; `token` None asks as nobody."""

    app: FastAPI
    token: str | None = TOKEN
    headers: dict[str, str] = field(default_factory=dict)

    def as_(self, name: str) -> Api:
        """Return the same API, asked by somebody else."""
        return replace(self, token=token_of(name))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, json: object = None, **options: Any) -> httpx.Response:
        return self.ask("POST", path, json=json, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        signed = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        headers = {**signed, **self.headers, **options.pop("headers", {})}
        return asyncio.run(self._ask(method, path, headers=headers, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, **options)


class EmptyMlflow:
    """A client of an MLflow that has no experiment."""

    def get_experiment_by_name(self, _: str) -> None:
        return None

    def search_experiments(self, **_: Any) -> list[Any]:
        return []


class QuietTracking:
    """Stands in for MLflow where a test does not look at it."""

    @contextmanager
    def reading(self) -> Iterator[EmptyMlflow]:
        yield EmptyMlflow()

    def project_version(self, **_: Any) -> str:
        return "1"


class Services(ServiceFactory):
    """The real stores below a folder, without MLflow."""

    @cached_property
    def tracking(self) -> Any:
        return QuietTracking()


def services_in(folder: Path, clock: Clock) -> Services:
    services = Services(load_settings(home=folder / "home"), clock)
    services.settings.home.mkdir(parents=True)
    services.database.migrate()
    return services


def with_people(services: Services) -> Services:
    """Add one person or two of each role, and the service of Dagster's runs, each with a token."""
    services.directory.bootstrap("local-operator")
    by = services.directory.principal("local-operator")
    for name, role in PEOPLE.items():
        services.directory.add(Declared(name=name, kind=Kind.PERSON, roles=frozenset({role})), by=by)
    for name in (*PEOPLE, "dagster"):
        services.tokens.adopt(token_of(name), name=name, label="tests", reason="tests")
    return services


def api_over(services: ServiceFactory) -> Api:
    return Api(create_app(services, log=io.StringIO()))


def publish(services: ServiceFactory, dataset: str, columns: dict[str, list[Any]]) -> None:
    table = pa.table(columns)
    provenance = Provenance(code_version="1", inputs={})
    services.snapshots.publish(dataset, table, provenance=provenance, actor="tests")


def gathered(version: ModelVersion, item: Item, *, tier: int = 2, makers: frozenset[str] = frozenset()) -> Gathered:
    """What one item shows of a version, for staging."""
    plan = signal_spec().deployment
    return Gathered(
        version=version,
        environment=plan.environment,
        tier=tier,
        plan=plan.as_json(),
        checklist=Checklist(subject=f"{version.id} to {plan.environment}", items=(item,)),
        makers=makers,
    )


def request_deployment(services: ServiceFactory, model: str = "signal_classifier", **metadata: object) -> ModelVersion:
    """Keep a version of a model, which says this of itself too, and ask for its deployment."""
    from mlops_assets.storage.sql.tables import model_version

    version = ModelVersion(
        model=model,
        version=1,
        fingerprint=SHA256,
        artifact_sha256=services.blobs.put(b"tree"),
        training_set_fingerprint=SHA256,
        code_version=SHA256,
        run_id="run-1",
        stage="experimental",
        metadata={"kind": "classifier", "library": "lightgbm 4", "parameters": {"learning_rate": 0.1}, **metadata},
        metrics={"test/auc": 0.5},
        created_at=services.clock.now(),
        created_by="tests",
    )
    with services.database.begin() as connection:
        fields = {name: getattr(version, name) for name in ModelVersion.__dataclass_fields__}
        connection.execute(model_version.insert().values(fields))
    item = Item(name="registered", status=ItemStatus.PASSED, rule="a rule", note="it is", evidence=SHA256)
    services.deployments.request(gathered(version, item), by=QUANT)
    return version


def seal_report(
    services: ServiceFactory, name: str = "covid_crash", *, run_id: str = "r-2", sharpe: float = 0.8
) -> str:
    """Seal a report about one candidate that breaks its gate, beside two baselines; return its hash."""
    inputs = {"market/bars": SHA256, "models/signal_classifier": SHA256}
    record = {
        "name": name,
        "results": {
            "buy_and_hold": _result("baseline", 0.6, None, "r-0"),
            "equal_weight": _result("baseline", 0.4, None, "r-1"),
            "signal_ml": _result("candidate", sharpe, "signal_classifier", run_id),
        },
        "gates": [
            {"candidate": "signal_ml", "metric": "turnover", "bound": "at most 25", "value": 30.0, "is_passed": False}
        ],
        "explanations": {"signal_classifier": {"window": [{"feature": "rsi_14", "share": 0.7}]}},
        "inputs": inputs,
    }
    kpis = (Kpi(key=f"{name}.signal_ml.sharpe_ratio", value=sharpe, unit="ratio"),)
    html = b"<html><script>alert(1)</script></html>"
    sealed = SealedReport(name=name, record=canonical_json(record), html=html, kpis=kpis, inputs=inputs)
    return services.reports.seal(sealed, actor="tests").sha256


def _result(role: str, sharpe: float, model: str | None, replay: str) -> dict[str, Any]:
    return {
        "role": role,
        "strategy": {"version": "1.0.0", "model": model},
        "replay": replay,
        "metrics": {"sharpe_ratio": {"value": sharpe, "unit": "ratio"}, "alpha": {"value": None, "unit": "fraction"}},
        "checks": [{"check": "data_complete", "is_passed": True, "summary": "nothing missing"}],
    }
