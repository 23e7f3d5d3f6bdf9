"""`mlops audit`: what it prints, what it writes, and when its exit code is no."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from tests.ledger.chains import AT


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceFactory:
    """An installation with its first principal and some entries; commands of this test find it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("MLOPS_HOME", str(home))
    made = ServiceFactory(load_settings())
    made.database.migrate()
    made.directory.bootstrap(made.settings.operator_name)
    made.operator_file.ensure(made.settings.operator_name)
    for hour, subject in enumerate(["features/a@1", "features/b@1", "models/a@1"]):
        at = ServiceFactory(made.settings, FixedClock(at=AT + timedelta(hours=hour)))
        with at.database.begin() as connection:
            at.ledger.append(connection, Change(actor="ana", action="snapshot.publish", subject=subject))
    return made


def count(services: ServiceFactory) -> int:
    return services.ledger.verify().entries


def test_a_checkpoint_is_signed_once_for_a_head(mlops, services: ServiceFactory):
    first = mlops("audit", "checkpoint", "--json")
    assert (first.code, first.json["seq"]) == (0, count(services))
    assert mlops("audit", "checkpoint", "--json").json == first.json
    found = mlops("audit", "verify", "--json").json
    assert (found["status"], found["checkpoints"], found["vouched"]) == ("intact", 1, count(services))


def test_rotating_the_key_is_an_entry_and_a_checkpoint(mlops, services: ServiceFactory, tmp_path: Path):
    key = mlops("audit", "public-key")
    (tmp_path / "first.pem").write_text(key.out)
    made = mlops("audit", "rotate-key", "--reason", "a laptop was lost", "--json")
    assert made.code == 0
    (entry,) = services.ledger.entries(action="ledger.rotate_key")
    assert (entry.actor, entry.reason, entry.after) == (
        services.operator.name,
        "a laptop was lost",
        made.json["key_id"],
    )
    assert mlops("audit", "verify", "--public-key", str(tmp_path / "first.pem")).code == 0
    keys = mlops("audit", "public-key", "--json").json
    assert [one["key_id"] for one in keys] == [entry.before, entry.after]
    assert mlops("audit", "public-key", "--latest").out == keys[1]["public_key"]


def test_an_export_verifies_with_no_installation(
    mlops, services: ServiceFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file, key = tmp_path / "ledger.jsonl", tmp_path / "first.pem"
    key.write_text(mlops("audit", "public-key").out)
    made = mlops("audit", "export", str(file), "--json").json
    assert made["entries"] == count(services)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "nowhere"))
    arguments = ("audit", "verify", "--export", str(file))
    for more in ((), ("--public-key", str(key)), ("--checkpoint", made["checkpoint_file"])):
        answer = mlops(*arguments, *more, "--json")
        assert (answer.code, answer.json["status"], answer.json["vouched"]) == (0, "intact", made["entries"])
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]))
    answer = mlops(*arguments, "--json")
    assert (answer.code, answer.json["first_bad"]) == (1, len(lines))
    assert not (tmp_path / "nowhere").exists()


def test_an_export_replaces_nothing_unasked(mlops, services: ServiceFactory, tmp_path: Path):
    file = tmp_path / "ledger.jsonl"
    assert mlops("audit", "export", str(file)).code == 0
    answer = mlops("audit", "export", str(file))
    assert (answer.code, "--force" in answer.err) == (1, True)
    assert mlops("audit", "export", str(file), "--force").code == 0


def seqs(answer) -> list[int]:
    return [one["seq"] for one in answer.json]


def test_the_log_is_filtered(mlops, services: ServiceFactory):
    last = count(services)
    log = ("audit", "log", "--json", "--action", "snapshot.*")
    assert seqs(mlops(*log)) == [last - 2, last - 1, last]
    assert seqs(mlops(*log, "--subject", "features/*")) == [last - 2, last - 1]
    assert seqs(mlops(*log, "--subject", "features/")) == []
    assert seqs(mlops(*log, "--subject", "models/a@1")) == [last]
    assert seqs(mlops(*log, "--actor", "a*", "--newest-first", "--limit", "2")) == [last, last - 1]
    assert seqs(mlops(*log, "--since", "2026-01-05T13:00:00Z", "--until", "2026-01-05T23:00:00+09:00")) == [last - 1]
    assert seqs(mlops(*log, "--after", str(last - 1))) == [last]


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--since", "2026-01-05T13:00:00", "has no time zone; write 2026-01-05T12:00:00Z"),
        ("--until", "2026-01-05", "has no time zone"),
        ("--since", "yesterday", "is no instant; write it like"),
    ],
)
def test_a_time_without_a_zone_is_refused(mlops, option: str, value: str, remedy: str):
    answer = mlops("audit", "log", option, value)
    assert answer.code == 2
    assert remedy in " ".join(answer.err.split())


def test_a_file_that_is_no_key_or_no_checkpoint_is_said(mlops, services: ServiceFactory, tmp_path: Path):
    file, other = tmp_path / "ledger.jsonl", tmp_path / "other.json"
    mlops("audit", "export", str(file))
    other.write_text(json.dumps({"kind": "minutes"}))
    assert "not a public key" in mlops("audit", "verify", "--public-key", str(other)).err
    answer = mlops("audit", "verify", "--export", str(file), "--checkpoint", str(other), "--json")
    assert (answer.code, "no checkpoint or rotation" in answer.json["problem"]) == (1, True)
    assert mlops("audit", "verify", "--checkpoint", str(other)).code == 2


def test_who_may_not_does_not(mlops, services: ServiceFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_TOKEN", "nobody's")
    for arguments in (("checkpoint",), ("rotate-key",), ("export", str(tmp_path / "ledger.jsonl"))):
        assert mlops("audit", *arguments).code == 1
    assert services.checkpoints.latest() is None
    assert not (tmp_path / "ledger.jsonl").exists()
