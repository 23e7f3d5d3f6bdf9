"""The lifecycle over HTTP: numbers no database can hold are refused, and what ended says when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.lifecycle.deployment.checklist import Item, ItemStatus
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
