"""`mlops deployments`: from a request to serving and back, as people do it, and one clear line for every mistake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.governance.spec import Verdict
from mlops_assets.kernel.clock import FixedClock, SystemClock
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Role
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.storage.parquet.snapshots import Provenance
from mlops_assets.storage.sql.tables import model_version
from tests.cli.people import sign_in_as
from tests.lifecycle.deployment_worlds import GAPS, SKILL
from tests.lifecycle.worlds import FEATURES, NOW, training_set
from tests.rest.client import Services, services_in

MODEL, DEVELOPMENT = "signal_classifier", ("--environment", "development")


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Stores with two versions of which everything is shown that development asks for, seen by an engineer."""
    made = services_in(tmp_path, SystemClock())
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    provenance = Provenance(code_version="1", inputs={})
    rows = training_set(symbols=1)
    features = rows.select(["symbol", "date", "event_at", "known_at", *FEATURES])
    view = made.snapshots.publish("features/momentum", features, provenance=provenance, actor="dagster")
    data = made.snapshots.publish("datasets/signal_daily", rows, provenance=provenance, actor="dagster")
    made.feature_registry.record_certificate(
        view="momentum",
        version="1.0.0",
        snapshot_fingerprint=view.fingerprint,
        bars_fingerprint="b" * 64,
        cuts=["2013-05-02"],
        rows_compared=100,
        peeks=[],
        is_clean=True,
        actor="dagster",
    )
    for number in (1, 2):
        _register(made, number, trained_on=data.fingerprint, view=view.fingerprint)
    for name in ("ana", "ben"):
        sign_in_as(made, monkeypatch, name, Role.COMPLIANCE)
    sign_in_as(made, monkeypatch, "mo", Role.MLOPS)
    return made


def _register(services: Services, number: int, *, trained_on: str, view: str) -> None:
    version = ModelVersion(
        model=MODEL,
        version=number,
        fingerprint=fingerprint([MODEL, number]),
        artifact_sha256=services.blobs.put(f"tree\nversion=v4\n{number}".encode()),
        training_set_fingerprint=trained_on,
        code_version="0" * 64,
        run_id=f"run-{number}",
        stage="experimental",
        metadata={
            "kind": "classifier",
            "description": "A version for tests.",
            "training_set": "datasets/signal_daily",
            "fold_gaps": GAPS,
            "skill": SKILL,
            "feature_views": {"momentum": "1.0.0"},
            "inputs": {"features/momentum": view},
        },
        metrics={},
        created_at=NOW,
        created_by="dagster",
    )
    with services.database.begin() as connection:
        connection.execute(
            model_version.insert().values({name: getattr(version, name) for name in ModelVersion.__dataclass_fields__})
        )


def _approve(services: Services, approval_id: str) -> None:
    for name in ("ana", "ben"):
        by = services.directory.principal(name)
        services.approvals.decide(services.approvals.find(approval_id).id, by=by, verdict=Verdict.APPROVE, note="read")


def _asked(mlops, services: Services, version: int) -> str:
    asked = mlops("deployments", "request", MODEL, "--version", str(version), *DEVELOPMENT, "--json")
    assert asked.code == 0, asked.err
    _approve(services, asked.json["approval"])
    own = asked.json["id"]
    if version == 1:  # the first one has nobody to run beside
        done = mlops("deployments", "promote", own, "--to", "champion", "--reason", "approved", "--json")
        assert (done.code, done.json["alias"]) == (0, "follows"), done.err
    return own


def test_a_version_is_asked_for_promoted_retired_and_shown_at_every_step(mlops, services: Services):
    own = _asked(mlops, services, 1)
    (serving,) = mlops("deployments", "serving", "--json").json
    assert (serving["champion"], serving["epoch"], serving["environment"]) == (1, 1, "development")
    shown = mlops("deployments", "show", own, "--json").json
    assert (shown["state"], shown["status"], shown["missing"]) == ("champion", "active", "nothing")
    assert shown["approval"].endswith("(approved)")
    assert [item["item"] for item in shown["checklist"]] == [
        "registered",
        "training_set",
        "folds_apart",
        "look_ahead.momentum",
        "baselines_known",
        "limits_set",
    ]
    assert [move["action"] for move in shown["moves"]] == ["champion"]
    before = (services.clock.now() - timedelta(days=2)).date().isoformat()
    assert mlops("deployments", "serving", MODEL, "--at", before, "--json").json[0]["champion"] is None
    gone = mlops("deployments", "retire", MODEL, *DEVELOPMENT, "--reason", "the desk closes", "--epoch", "1", "--json")
    assert gone.json["serving"]["champion"] is None
    history = mlops("deployments", "history", MODEL, *DEVELOPMENT, "--json").json
    assert [(one["epoch"], one["action"], one["actor"], one["champion"]) for one in history] == [
        (1, "champion", "mo", 1),
        (2, "retire", "mo", None),
    ]
    assert services.ledger.verify().is_intact


def test_the_approval_that_is_shown_is_that_of_the_newest_round(mlops, services: Services):
    first = mlops("deployments", "request", MODEL, "--version", "1", *DEVELOPMENT, "--json").json
    services.approvals.revoke(
        services.approvals.find(first["approval"]).id, by=services.directory.principal("ana"), reason="wait"
    )
    again = mlops("deployments", "request", MODEL, "--version", "1", *DEVELOPMENT, "--json").json
    assert again["id"] == first["id"]
    shown = mlops("deployments", "show", first["id"], "--json").json
    assert shown["approval"] == f"{again['approval']} (submitted)"


def test_a_challenger_takes_its_steps_and_is_taken_back(mlops, services: Services):
    _asked(mlops, services, 1)
    own = _asked(mlops, services, 2)
    skipped = mlops("deployments", "promote", own, "--to", "champion", "--reason", "now")
    assert (skipped.code, skipped.err.split(":")[0]) == (1, "error [conflict]")
    assert "Promote it to shadow first" in skipped.err
    shadow = mlops("deployments", "promote", own, "--to", "shadow", "--reason", "beside it", "--json").json
    assert shadow["serving"]["mode"] == "shadow"
    early = mlops("deployments", "promote", own, "--to", "canary", "--reason", "now")
    assert "0 of 5 planned sessions" in early.err
    stopped = mlops("deployments", "stop", MODEL, *DEVELOPMENT, "--reason", "it differs", "--json").json
    assert (stopped["state"], stopped["serving"]["champion"]["version"], stopped["review"]) == ("rolled_back", 1, None)
    nobody = mlops("deployments", "rollback", MODEL, *DEVELOPMENT, "--reason", "again")
    assert "no version served before version 1" in nobody.err
    assert "mlops deployments retire signal_classifier" in nobody.err


def test_limits_are_held_now_and_a_champion_that_stays_in_spite_of_them_is_told_by_the_exit_code(
    mlops, services: Services
):
    assert mlops("deployments", "guard", "--json").json == []
    own = _asked(mlops, services, 1)
    calm = mlops("deployments", "guard", "--json")
    assert (calm.code, calm.json[0]["outcome"], calm.json[0]["role"]) == (0, "not_ended", "champion")
    next_minute = FixedClock(at=services.clock.now() + timedelta(minutes=1))
    recorder = RequestRecorder(services.health, next_minute, flush_seconds=None)
    for _ in range(50):
        recorder.failed(services.deployments.find(own).id)
    recorder.flush()
    broken = mlops("deployments", "guard", "--json")
    assert (broken.code, broken.json[0]["outcome"]) == (1, "keeps_serving")
    assert "max_error_rate: 1 > 0.01" in broken.json[0]["limits"]


def test_what_is_missing_is_named_and_people_attest_what_machines_can_not_show(
    mlops, services: Services, monkeypatch: pytest.MonkeyPatch
):
    refused = mlops("deployments", "request", MODEL, "--version", "2", "--environment", "production")
    assert refused.code == 1
    assert "error [checklist_incomplete]" in refused.err
    for item in ("documented", "report.covid_crash", "explanations", "independent_validation", "fallback_named"):
        assert f"{item}: " in refused.err
    sign_in_as(services, monkeypatch, "ana", Role.COMPLIANCE)
    said = mlops("deployments", "attest", f"{MODEL}@2", "fallback_named", "--statement", "version 1", "--json").json
    assert (said["principal"], said["item"]) == ("ana", "fallback_named")
    sign_in_as(services, monkeypatch, "mo", Role.MLOPS)
    assert (
        "fallback_named: "
        not in mlops("deployments", "request", MODEL, "--version", "2", "--environment", "production").err
    )
    assert mlops("deployments", "list", "--json").json == []


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["request", "signal_clasifier"], 1, "did you mean 'signal_classifier'"),
        (["request", MODEL, "--environment", "prod"], 1, "no environment is called 'prod'"),
        (["request", MODEL, "--version", "9", *DEVELOPMENT], 1, "Registered versions of signal_classifier: 1, 2"),
        (["request", MODEL, "--version", "0"], 2, "0 is not in the range"),
        (["show", "abc"], 1, "`mlops deployments list` shows the ids"),
        (["list", "--state", "aproved"], 1, "did you mean 'approved'"),
        (["promote", "abc", "--to", "boss", "--reason", "x"], 1, "known: canary, champion, shadow"),
        (["promote", "abc", "--to", "champion"], 2, "--reason"),
        (["rollback", MODEL, "--reason", "x"], 1, "nobody serves"),
        (["retire", MODEL, "--reason", "x"], 1, "nobody serves"),
        (["history", "unknown_model"], 1, "no model is called 'unknown_model'"),
        (["serving", "unknown_model"], 1, "no model is called 'unknown_model'"),
        (["serving", "--environment", "prod"], 1, "no environment is called 'prod'"),
        (["list", "--environment", "prod"], 1, "no environment is called 'prod'"),
        (["list", "--model", "signal_clasifier"], 1, "did you mean 'signal_classifier'"),
        (["drill", "signal_clasifier"], 1, "did you mean 'signal_classifier'"),
        (["drill", MODEL], 1, "Materialise"),
        (["attest", MODEL, "fallback_named", "--statement", "x"], 1, "Write it like signal_classifier@3"),
        (["attest", f"{MODEL}@1", "limits_set", "--statement", "x"], 1, "no item that people attest"),
    ],
)
def test_a_mistake_is_told_in_one_line(mlops, arguments: list[str], code: int, words: str):
    answer = mlops("deployments", *arguments)
    assert answer.code == code
    assert words in " ".join(answer.err.split())


@pytest.mark.usefixtures("services")
def test_a_table_for_people_where_there_is_nothing_yet(mlops):
    for command in (["list"], ["serving"], ["history", MODEL]):
        answer = mlops("deployments", *command)
        assert (answer.code, answer.err) == (0, "")


def test_who_may_not_is_told_who_may(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    own = _asked(mlops, services, 1)
    sign_in_as(services, monkeypatch, "vera", Role.VIEWER)
    for arguments in (
        ["request", MODEL],
        ["promote", own, "--to", "champion", "--reason", "x"],
        ["rollback", MODEL, "--reason", "x"],
        ["stop", MODEL, "--reason", "x"],
        ["retire", MODEL, "--reason", "x"],
        ["attest", f"{MODEL}@1", "fallback_named", "--statement", "x"],
    ):
        assert "error [forbidden]: vera may not do" in mlops("deployments", *arguments).err
    assert mlops("deployments", "show", own).code == 0
