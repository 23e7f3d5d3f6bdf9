"""Verdicts over HTTP: about exactly what was seen, by those who had no hand in it, one clean outcome."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.spec import Approval
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.identity import Role
from mlops_assets.rest.app import create_app
from tests.rest.client import Api, MovingClock, Services, at_once, services_in, token_of, with_people

APPROVALS = "/api/v1/approvals"
SUBJECT = "deployments/signal@1/staging"


def evidence(report: str = "r-1") -> Evidence:
    return Evidence(
        parts=(
            Part(name="model", kind=PartKind.SUBJECT, fingerprint="m-1", note="signal@1"),
            Part(name="report", kind=PartKind.REPORT, fingerprint=report),
        )
    )


def ask(services: Services, *, tier: int = 1, subject: str = SUBJECT, report: str = "r-1") -> Approval:
    """Ask as Dagster's service for the approval of what dana made."""
    by = services.directory.principal("dagster")
    return services.approvals.request(subject=subject, tier=tier, evidence=evidence(report), authors=("dana",), by=by)


def move(api: Api, name: str, request: Approval, verb: str, **more: Any) -> Any:
    body = {"evidence_fingerprint": request.evidence_fingerprint, **more}
    return api.as_(name).post(f"{APPROVALS}/{request.id}/{verb}", body)


def test_two_people_one_of_them_compliance_approve(api: Api, services: Services):
    request = ask(services)
    assert move(api, "carol", request, "review").json()["state"] == "in_review"
    first = move(api, "mo", request, "approve", note="replayed it").json()
    assert (first["state"], first["decisions"][0]["capacity"]) == ("in_review", "mlops")
    second = move(api, "carol", request, "approve", note="read it", reviewer="carol").json()
    assert (second["state"], len(second["decisions"])) == ("approved", 2)
    shown = api.as_("vi").get(f"{APPROVALS}/{request.id}").json()
    assert shown == second
    assert {part["name"]: part["kind"] for part in shown["evidence"]} == {"model": "subject", "report": "report"}
    assert {(party["principal"], party["duty"]) for party in shown["parties"]} >= {("dana", "author")}
    assert "credential" not in shown["decisions"][0]
    checkpoint = services.checkpoints.latest()
    assert checkpoint is not None  # an approval is sealed at once
    newest = list(services.ledger.entries())[-1]
    assert (newest.action, newest.actor, checkpoint.seq) == ("approval.approve", "carol", newest.seq)


def test_what_somebody_made_they_do_not_approve_and_the_ledger_says_they_tried(api: Api, services: Services):
    by = services.directory.principal("local-operator")
    services.directory.grant("dana", [Role.QUANT], by=by)
    request = ask(services)
    refused = move(api, "dana", request, "approve")
    assert (refused.status_code, "dana is author" in refused.json()["detail"]) == (403, True)
    assert [entry.action for entry in services.ledger.entries(actor="dana")][-1] == "approval.refuse"


@pytest.mark.parametrize("verb", ["submit", "review", "approve", "reject", "revoke", "override"])
def test_a_word_about_other_evidence_is_409(api: Api, services: Services, verb: str):
    request = ask(services)
    reason = {"reason": "x"} if verb in {"revoke", "override"} else {"note": "x"} if verb != "submit" else {}
    reason = {} if verb == "review" else reason
    answer = api.as_("mo").post(
        f"{APPROVALS}/{request.id}/{verb}", {"evidence_fingerprint": evidence("older").fingerprint, **reason}
    )
    assert answer.status_code == 409
    assert request.evidence_fingerprint in answer.json()["detail"]
    assert services.approvals.get(request.id).state == "submitted"


def test_a_stale_report_is_not_approved_and_the_request_says_what_moved(api: Api, services: Services):
    stale = ask(services)
    ask(services, report="r-2")
    refused = move(api, "carol", stale, "approve")
    assert (refused.status_code, "revoked" in refused.json()["detail"]) == (409, True)
    (moved,) = api.get(f"{APPROVALS}/{stale.id}").json()["moved"]
    assert moved.startswith("report moved: r-1")


@pytest.mark.parametrize("field", ["reviewer", "approved_by"])
def test_nobody_decides_in_anothers_name(api: Api, services: Services, field: str):
    request = ask(services)
    answer = move(api, "mo", request, "approve", **{field: "carol"})
    assert (answer.status_code, field in answer.json()["detail"]) == (403, True)
    assert services.approvals.get(request.id).decisions == ()


def test_two_approvers_at_the_same_instant_give_one_clean_outcome(api: Api, services: Services):
    for number in range(5):
        request = ask(services, subject=f"deployments/signal@{number}/staging")
        answers = at_once(*[partial(move, api, name, request, "approve") for name in ("mo", "carol")])
        assert [answer.status_code for answer in answers] == [200, 200]
        assert sorted(answer.json()["state"] for answer in answers) == ["approved", "in_review"]
        entries = Counter(entry.action for entry in services.ledger.entries(subject=request.subject))
        assert entries["approval.approve"] == 2
    assert services.ledger.verify().is_intact


def test_the_same_approver_twice_at_the_same_instant_counts_once(api: Api, services: Services):
    request = ask(services)
    answers = at_once(*[lambda: move(api, "mo", request, "approve")] * 3)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(services.approvals.get(request.id).decisions) == 1


def test_one_approves_and_one_rejects_at_the_same_instant(api: Api, services: Services):
    request = ask(services, tier=3)
    answers = at_once(
        lambda: move(api, "mo", request, "approve"), lambda: move(api, "carol", request, "reject", note="no")
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert services.approvals.get(request.id).state in {"approved", "rejected"}


def test_a_rejection_says_why_and_ends_the_request(api: Api, services: Services):
    request = ask(services)
    assert move(api, "carol", request, "reject").status_code == 422
    rejected = move(api, "carol", request, "reject", note="the window is too short")
    assert (rejected.json()["state"], rejected.json()["closed_reason"]) == ("rejected", "the window is too short")
    assert move(api, "mo", request, "approve").status_code == 409


def test_an_override_takes_two_people_and_is_marked(api: Api, services: Services):
    request = ask(services)
    assert move(api, "mo", request, "override", reason="the desk stands still").json()["state"] == "in_review"
    second = move(api, "max", request, "override", reason="seen").json()
    assert (second["state"], second["is_override"], len(second["overrides"])) == ("approved", True, 2)
    assert move(api, "carol", request, "revoke", reason="over").json()["state"] == "revoked"


def test_a_draft_is_submitted_and_its_submitter_decides_nothing(api: Api, services: Services):
    by = services.directory.principal("dagster")
    draft = services.approvals.draft(subject=SUBJECT, tier=3, evidence=evidence(), authors=("dana",), by=by)
    assert move(api, "mo", draft, "approve").status_code == 409
    assert move(api, "mo", draft, "submit").json()["submitted_by"] == "mo"
    assert move(api, "mo", draft, "approve").status_code == 403
    assert move(api, "max", draft, "approve").json()["state"] == "approved"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"note": "x"},
        {"evidence_fingerprint": 1},
        {"evidence_fingerprint": "x", "note": None},
        {"evidence_fingerprint": "x", "decision": "approve"},
        {"evidence_fingerprint": "x", "note": "x" * 2_001},
        [],
        "approve",
        None,
    ],
)
def test_a_verdict_has_a_form(api: Api, services: Services, body: object):
    answer = api.as_("mo").post(f"{APPROVALS}/{ask(services).id}/approve", body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_an_unknown_request_is_404(api: Api):
    body = {"evidence_fingerprint": "x"}
    assert api.get(f"{APPROVALS}/none").status_code == 404
    assert api.as_("mo").post(f"{APPROVALS}/none/approve", body).status_code == 404


def test_requests_are_paged_oldest_first_however_many_come_meanwhile(api: Api, services: Services):
    known = [ask(services, subject=f"models/m{number}").id for number in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(APPROVALS, params={"limit": 2, "state": "submitted", **cursor}).json()
        seen += [one["id"] for one in page["approvals"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == sorted(known)
    assert api.get(APPROVALS, params={"subject": "models/m3"}).json()["approvals"][0]["subject"] == "models/m3"
    other = api.get(APPROVALS, params={"state": "draft", **cursor})
    assert (other.status_code, "same filters" in other.json()["detail"]) == (422, True)


@pytest.mark.parametrize("query", ["limit=0", "limit=1000000000", "limit=-1", "cursor=x", "cursor=", "state=flying"])
def test_a_list_has_bounds(api: Api, query: str):
    assert api.get(f"{APPROVALS}?{query}").status_code == 422


def test_the_queue_says_what_is_overdue_and_what_is_missing(tmp_path: Path, clock: FixedClock):
    moving = MovingClock(clock.at)
    services = with_people(services_in(tmp_path, moving))
    api = Api(create_app(services, log=io.StringIO()), token=token_of("vi"))
    urgent = ask(services, tier=1, subject="models/urgent")
    ask(services, tier=3, subject="models/slow")
    moving.at += timedelta(hours=25)
    queue = api.get(f"{APPROVALS}/queue").json()
    first, second = queue["waiting"]
    assert (queue["total"], first["approval"]["id"], first["is_overdue"], second["is_overdue"]) == (
        2,
        urgent.id,
        True,
        False,
    )
    assert (first["age_seconds"], first["needed"]) == (25 * 3600, "2 more, compliance")
    assert api.get(f"{APPROVALS}/queue?skip=1&limit=1").json()["waiting"] == [second]
    assert api.get(f"{APPROVALS}/queue?skip={10**30}").json()["waiting"] == []
