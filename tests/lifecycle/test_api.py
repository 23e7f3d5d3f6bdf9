"""The lifecycle over HTTP: numbers no database can hold are refused, and what ended says when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.governance.spec import Verdict
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.lifecycle.api import stage_of
from mlops_assets.lifecycle.deployment.checklist import Item, ItemStatus
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.sql.tables import model_version
from tests.lifecycle.worlds import NOW, SERVICE
from tests.rest.client import SHA256, Services, api_over, gathered, request_deployment, services_in, with_people

LIFECYCLE = "/api/v1/ml/lifecycle"


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return with_people(services_in(tmp_path, FixedClock(at=NOW)))


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("1", 200),
        (str(2**31 - 1), 404),
        (str(2**31), 422),
        (str(2**63), 422),
        ("9" * 30, 422),
        ("9" * 5000, 422),
        ("0", 422),
        ("-1", 422),
    ],
)
def test_a_version_is_a_number_that_a_database_can_hold(services: Services, version: str, status: int):
    request_deployment(services)
    assert api_over(services).get(f"{LIFECYCLE}/models/signal_classifier/{version}").status_code == status


def test_a_superseded_deployment_says_when_it_ended(services: Services):
    version = request_deployment(services)
    item = Item(name="registered", status=ItemStatus.PASSED, rule="a rule", note="another", evidence=SHA256)
    newer = replace(version, version=2, fingerprint="9" * 64)
    services.deployments.request(gathered(newer, item), by=SERVICE)
    shown = api_over(services).get(f"{LIFECYCLE}/deployments").json()["deployments"]
    ended = {one["status"]: one["terminated_at"] for one in shown}
    assert ended == {"terminated": "2024-06-07T12:00:00Z", "pending": None}


def _deployed(environment: str, state: State) -> Deployment:
    return Deployment(
        id="d",
        model="signal_classifier",
        model_version=1,
        environment=environment,
        tier=2,
        state=state,
        evidence_fingerprint=None,
        checklist=[],
        plan={},
        epoch=0,
        created_at=NOW,
        updated_at=NOW,
        created_by="quincy",
    )


@pytest.mark.parametrize(
    ("deployed", "stage"),
    [
        ([], "experimental"),
        ([("development", State.CHAMPION)], "experimental"),
        ([("staging", State.APPROVED)], "experimental"),
        ([("staging", State.SHADOW)], "staging"),
        ([("staging", State.CHAMPION), ("production", State.CANARY)], "staging"),
        ([("staging", State.CHAMPION), ("production", State.CHAMPION)], "production"),
        ([("production", State.SUPERSEDED), ("production", State.CHAMPION)], "production"),
        ([("staging", State.SUPERSEDED), ("production", State.RETIRED)], "archived"),
        ([("staging", State.SUPERSEDED), ("production", State.IN_REVIEW)], "experimental"),
        ([("staging", State.REJECTED)], "experimental"),
    ],
)
def test_the_stage_of_a_version_is_how_far_its_deployments_came(deployed: list[tuple[str, State]], stage: str):
    assert stage_of([_deployed(*one) for one in deployed]) == stage


def test_a_version_says_who_approved_it_and_how_far_it_came(services: Services):
    def decide(name: str) -> None:
        (waiting,) = services.approvals.queue()
        by = services.directory.principal(name)
        services.approvals.decide(waiting.approval.id, by=by, verdict=Verdict.APPROVE, note="")

    def seen(**asked: str) -> list[tuple[str, str, str | None, str | None]]:
        shown = api_over(services).get(f"{LIFECYCLE}/models", params=asked).json()
        assert shown["total"] == len(shown["models"])
        return [(one["version"], one["stage"], one["approved_by"], one["approved_at"]) for one in shown["models"]]

    first = request_deployment(services)
    decide("carol")
    assert seen() == [("1", "experimental", None, None)]
    decide("mo")
    approved = ("1", "experimental", "carol, mo", "2024-06-07T12:00:00Z")
    assert seen() == [approved]
    detail = api_over(services).get(f"{LIFECYCLE}/models/signal_classifier/1").json()
    assert (detail["version"], detail["stage"], detail["approved_by"], detail["approved_at"]) == approved

    newer = replace(first, version=2, fingerprint="9" * 64)
    with services.database.begin() as connection:
        values = {name: getattr(newer, name) for name in ModelVersion.__dataclass_fields__}
        connection.execute(model_version.insert().values(values))
    item = Item(name="registered", status=ItemStatus.PASSED, rule="a rule", note="another", evidence=SHA256)
    services.deployments.request(gathered(newer, item), by=SERVICE)  # which takes the approval of the first back
    assert seen(stage="archived") == [("1", "archived", None, None)]
    assert seen(stage="experimental", model_name="signal_classifier") == [("2", "experimental", None, None)]
    assert seen(stage="production") == seen(stage="staging") == []
