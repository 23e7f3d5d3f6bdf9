"""Routes show what the stores hold, under both prefixes, with the documented errors."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mlops_assets.evaluation.report import build_record, seal
from mlops_assets.kernel.errors import IntegrityViolation
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.rest.pages import CONTENT_SECURITY_POLICY
from tests.evaluation.reports import EXPLAINED, SCENARIO, contenders
from tests.rest.client import Api, Services, api_over, publish, request_deployment, seal_report

NAN = float("nan")
DATASET = {
    "symbol": ["AAPL", "AAPL", "AAPL", "AAPL"],
    "date": [date(2020, 1, day) for day in (2, 3, 6, 7)],
    "up": [1.0, 2.0, 3.0, NAN],
    "down": [-1.0, -2.0, -3.0, 5.0],
    "still": [4.0, 4.0, 4.0, 4.0],
}


class Unreadable:
    """A catalogue whose file was damaged."""

    def count(self) -> int:
        raise IntegrityViolation(what="a file", expected="1", found="2", remedy="Mend it.")


@pytest.mark.parametrize("prefix", ["/api/v1/features", "/api/v1/ml/features"])
def test_a_published_table_is_listed_and_shown(api: Api, services: Services, prefix: str):
    publish(services, "features/momentum", DATASET)
    (listed,) = api.get(f"{prefix}/datasets").json()["datasets"]
    assert listed["id"] == listed["table_name"] == "features.momentum"
    assert (listed["row_count"], listed["column_count"], listed["features"]) == (4, 5, ["up", "down", "still"])
    assert listed["owner"] == "team:quant"
    shown = api.get(f"{prefix}/datasets/{listed['id']}").json()
    assert listed.items() <= shown.items()


def test_what_json_cannot_say_is_null(api: Api, services: Services):
    publish(services, "features/momentum", DATASET)
    shown = api.get("/api/v1/features/datasets/features.momentum").json()
    assert shown["sample_data"][0] == {"symbol": "AAPL", "date": "2020-01-02", "up": 1.0, "down": -1.0, "still": 4.0}
    assert shown["sample_data"][3]["up"] is None
    pairs = {(one["feature1"], one["feature2"]): one["correlation"] for one in shown["correlation_matrix"]}
    assert pairs[("up", "down")] == pytest.approx(-1)
    assert pairs[("up", "still")] is None


def test_a_new_version_is_shown_as_soon_as_it_is_published(api: Api, services: Services):
    publish(services, "features/momentum", DATASET)
    first = api.get("/api/v1/features/datasets/features.momentum").json()
    publish(services, "features/momentum", {name: values[:2] for name, values in DATASET.items()})
    second = api.get("/api/v1/features/datasets/features.momentum").json()
    assert (first["version"], second["version"], len(second["sample_data"])) == (1, 2, 2)
    assert second["created_at"] == first["created_at"]


def test_an_unknown_dataset_is_404_and_names_those_there_are(api: Api, services: Services):
    publish(services, "features/momentum", DATASET)
    answer = api.get("/api/v1/features/datasets/features.momentun")
    assert answer.status_code == 404
    assert "features.momentum" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["skip=-1", "limit=0", "limit=1000000000", "skip=x"])
def test_pages_have_bounds(api: Api, query: str):
    assert api.get(f"/api/v1/features/datasets?{query}").status_code == 422


def test_pages_follow_each_other(api: Api, services: Services):
    for name in ("a", "b", "c"):
        publish(services, f"features/{name}", DATASET)
    page = api.get("/api/v1/features/datasets?skip=1&limit=1").json()
    assert ([one["name"] for one in page["datasets"]], page["total"]) == (["features/b"], 3)
    assert api.get(f"/api/v1/features/datasets?skip={10**30}").json()["datasets"] == []


def test_a_model_and_its_deployment_are_shown_with_the_checklist(api: Api, services: Services):
    request_deployment(services)
    base = "/api/v1/ml/lifecycle"
    (listed,) = api.get(f"{base}/models?model_name=signal_classifier").json()["models"]
    assert (listed["version"], listed["stage"]) == ("1", "experimental")
    shown = api.get(f"{base}/models/signal_classifier/1").json()
    assert (shown["deployment_count"], shown["hyperparameters"]) == (1, {"learning_rate": 0.1})
    (deployment,) = api.get(f"{base}/deployments?environment=staging&status=pending").json()["deployments"]
    assert deployment["_id"] == deployment["id"]
    assert deployment["approval_checklist"][0]["status"] == "passed"
    assert api.get(f"{base}/deployments/{deployment['id']}").json() == deployment
    assert api.get(f"{base}/deployments?environment=production").json()["total"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/ml/lifecycle/models/signal_classifier/7", 404),
        ("/api/v1/ml/lifecycle/models/signal_classifier/seven", 422),
        ("/api/v1/ml/lifecycle/deployments/none", 404),
        ("/api/v1/ml/lifecycle/deployments?status=flying", 422),
        ("/api/v1/ml/evaluation/runs/none/report", 404),
        ("/api/v1/ml/evaluation/runs?status=odd", 422),
        (f"/reports/{'0' * 64}", 404),
        ("/reports/..%2f..%2fapi_token", 404),
        ("/api/v1/nothing", 404),
    ],
)
def test_an_unknown_thing_is_404_and_a_wrong_value_422(api: Api, path: str, status: int):
    answer = api.get(path)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_run_compares_the_candidate_with_the_mean_of_the_baselines(api: Api, services: Services):
    seal_report(services)
    (run,) = api.get("/api/v1/ml/evaluation/runs").json()["runs"]
    metric: dict[str, Any] = {one["metric_name"]: one for one in run["summary"]["metrics"]}["sharpe_ratio"]
    assert (metric["candidate"], metric["baseline_average"]) == (0.8, pytest.approx(0.5))
    assert metric["delta"] == pytest.approx(0.3)
    assert run["summary"]["compliance"] == "failed"
    assert run["explainability"] == [{"feature_name": "rsi_14", "importance": 0.7, "impact_direction": "mixed"}]


def test_a_report_names_its_hash_and_its_page(api: Api, services: Services):
    sha256 = seal_report(services)
    report = api.get("/api/v1/ml/evaluation/evaluation/runs/r-2/report").json()
    assert (report["sha256"], report["compliance"]) == (sha256, "failed")
    assert "turnover" in report["notes"]
    assert report["inputs"].keys() == {"market/bars", "models/signal_classifier"}
    page = api.get(report["html_url"])
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("sandbox;")
    assert "allow-scripts" not in CONTENT_SECURITY_POLICY


def test_a_run_names_the_registered_version_of_its_model_and_not_the_strategys(api: Api, services: Services):
    version = request_deployment(services)
    seal_report(services)
    (run,) = api.get("/api/v1/ml/evaluation/runs").json()["runs"]
    report = api.get("/api/v1/ml/evaluation/runs/r-2/report").json()
    for answer in (run, report):
        assert answer["candidate_model_name"] == version.model
        shown = api.get(f"/api/v1/ml/lifecycle/models/{version.model}/{answer['candidate_model_version']}").json()
        assert shown["fingerprint"] == version.fingerprint


def test_a_run_of_a_strategy_without_a_model_names_the_strategy_and_its_version(api: Api, services: Services):
    record = build_record(SCENARIO, contenders(), [EXPLAINED])
    services.reports.seal(seal(record, b"<html>"), actor="tests")
    (run,) = api.get("/api/v1/ml/evaluation/runs").json()["runs"]
    assert (run["candidate_model_name"], run["candidate_model_version"]) == ("sma_crossover", "1.0.0")


def test_the_report_of_a_run_is_the_one_sealed_last_even_if_it_is_an_old_one(api: Api, services: Services):
    first = seal_report(services)
    second = seal_report(services, sharpe=0.9)
    for latest in (second, first, second):
        if services.reports.latest("covid_crash").sha256 != latest:
            seal_report(services, sharpe=0.9 if latest == second else 0.8)
        assert services.reports.latest("covid_crash").sha256 == latest
        assert api.get("/api/v1/ml/evaluation/runs/r-2/report").json()["sha256"] == latest


@pytest.mark.parametrize(("first", "second"), [("r-1", "r-2"), ("r-2", "r-1")])
def test_runs_are_listed_by_the_last_sealing_of_a_report_about_them(
    api: Api, services: Services, first: str, second: str
):
    for run_id in (first, second, first):
        seal_report(services, run_id=run_id)
    page = api.get("/api/v1/ml/evaluation/runs").json()
    assert ([run["id"] for run in page["runs"]], page["total"]) == ([first, second], 2)
    page = api.get("/api/v1/ml/evaluation/runs?skip=1&limit=1").json()
    assert ([run["id"] for run in page["runs"]], page["total"]) == ([second], 2)
    assert api.get("/api/v1/ml/evaluation/runs?scenario_name=other").json() == {"runs": [], "total": 0}


def test_a_damaged_record_is_said_of_its_run_and_hides_no_other(api: Api, services: Services):
    damaged = services.blobs.path(seal_report(services, run_id="old"))
    seal_report(services, run_id="new")
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes() + b" ")
    answer = api.get("/api/v1/ml/evaluation/runs")
    assert answer.status_code == 200
    new, old = answer.json()["runs"]
    assert (new["id"], new["candidate_model_name"]) == ("new", "signal_classifier")
    assert (old["id"], old["summary"]["compliance"], old["summary"]["metrics"]) == ("old", "failed", [])
    assert "SHA-256" in old["summary"]["notes"]
    assert api.get("/api/v1/ml/evaluation/runs/new").status_code == 200
    assert api.get("/api/v1/ml/evaluation/runs/old").status_code == 503


def test_the_ledger_is_paged_filtered_and_verified(api: Api, services: Services):
    publish(services, "features/momentum", DATASET)
    seal_report(services)
    first = api.get("/api/v1/audit?limit=1").json()
    assert [one["seq"] for one in first["entries"]] == [1]
    second = api.get("/api/v1/audit", params={"cursor": first["next_cursor"]}).json()
    assert [one["seq"] for one in second["entries"]][:2] == [2, 3]
    assert second["next_cursor"] is None
    (sealed,) = api.get("/api/v1/audit?action=report.seal").json()["entries"]
    assert sealed["subject"] == "reports/covid_crash"
    assert api.get("/api/v1/audit/verify").json()["status"] == "intact"


def test_kpis_come_with_their_definitions(api: Api):
    kpis = api.get("/api/v1/kpis").json()["kpis"]
    assert len(kpis) >= 5
    assert all(kpi["definition"] and kpi["owner"] for kpi in kpis)


def test_ready_says_which_store_does_not_answer(api: Api, services: Services):
    assert api.get("/ready").json()["status"] == "ok"
    services.database.dispose()
    database = services.settings.home / "platform.db"
    database.rename(database.with_suffix(".gone"))
    answer = api.get("/ready")
    # Nor does it say who is asking: the tokens are in it. So nobody learns more than which store it is.
    expected = {"catalogue": "ok", "database": "unavailable", "snapshots": "unavailable", "disk": "ok"}
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "checks": expected})
    assert answer.headers["cache-control"] == "no-store"


def test_ready_names_each_store_that_does_not_answer(api: Api, services: Services):
    assert set(api.get("/ready").json()["checks"].values()) == {"ok"}
    services.__dict__["catalogue"] = Unreadable()
    answer = api.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"]["catalogue"] == "IntegrityViolation: a file: expected SHA-256 1, found 2. Mend it."
    assert answer.json()["checks"]["database"] == "ok"


def test_an_experiment_of_an_mlflow_that_is_gone_is_503(services: Services):
    (services.settings.home / "mlflow.db").write_bytes(b"no database at all" * 100)
    uri = f"sqlite:///{services.settings.home / 'mlflow.db'}"
    services.__dict__["tracking"] = Tracking(services.database, uri=uri, artifacts=services.settings.home)
    answer = api_over(services).get("/api/v1/ml/lifecycle/experiments/signal_classifier")
    assert (answer.status_code, "MLflow does not answer" in answer.json()["detail"]) == (503, True)


def test_a_route_over_a_database_that_is_gone_is_503(api: Api, services: Services):
    services.database.dispose()
    database = services.settings.home / "platform.db"
    database.rename(database.with_suffix(".gone"))
    answer = api.get("/api/v1/audit")
    assert answer.status_code == 503
    assert "mlops doctor" in answer.json()["detail"]


def test_a_damaged_file_is_503_and_not_shown(api: Api, services: Services):
    publish(services, "features/momentum", DATASET)
    (path,) = services.snapshots.paths(services.snapshots.head("features/momentum"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    answer = api.get("/api/v1/features/datasets/features.momentum")
    assert answer.status_code == 503
    assert "SHA-256" in answer.json()["detail"]
