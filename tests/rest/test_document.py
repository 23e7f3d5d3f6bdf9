"""The OpenAPI document says of every route what it answers, with an example, and how it fails."""

from __future__ import annotations

from tests.rest.client import Api

GAPS = (
    "/api/v1/ml/lifecycle/experiments/{name}",
    "/api/v1/ml/lifecycle/models/{model_name}/{version}",
    "/api/v1/features/datasets",
    "/api/v1/features/datasets/{dataset_id}",
    "/api/v1/ml/lifecycle/deployments",
    "/api/v1/ml/lifecycle/deployments/{deployment_id}",
)


def test_the_named_gaps_are_there(api: Api):
    assert set(GAPS) <= api.app.openapi()["paths"].keys()


def test_every_json_route_has_a_model_with_an_example(api: Api):
    document = api.app.openapi()
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        content = operations["get"]["responses"]["200"]["content"]
        if "application/json" not in content:
            continue
        name = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
        assert schemas[name].get("examples"), f"{path}: {name} has no example"


def test_every_route_but_health_documents_its_refusals_and_its_security(api: Api):
    for path, operations in api.app.openapi()["paths"].items():
        if path == "/health":
            continue
        assert "401" in operations["get"]["responses"], path
        assert operations["get"].get("security") or path.startswith("/reports"), path


def test_examples_are_valid_answers(api: Api):
    from mlops_assets.evaluation.api import EvaluationReport, EvaluationRuns
    from mlops_assets.features.api import DatasetDetail, Datasets
    from mlops_assets.kpis.api import Kpis
    from mlops_assets.ledger.api import AuditEntries, AuditVerification
    from mlops_assets.lifecycle.api import Experiment, ModelDetail, Models

    for model in (
        EvaluationReport,
        EvaluationRuns,
        DatasetDetail,
        Datasets,
        Kpis,
        AuditEntries,
        AuditVerification,
        Experiment,
        ModelDetail,
        Models,
    ):
        extra = model.model_config.get("json_schema_extra")
        assert isinstance(extra, dict)
        examples = extra["examples"]
        assert isinstance(examples, list)
        for example in examples:
            model.model_validate(example)
