"""`mlops audit dossier` writes an archive, checks one, and answers programs by its exit code."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.cli.app import main
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from mlops_assets.storage.keys import PublicKey
from tests.dossier.worlds import filled_world
from tests.rest.client import token_of


@pytest.fixture
def first_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublicKey:
    """Let commands of this test work on a filled home as Carol of compliance; return the key to trust."""
    home = filled_world(tmp_path).services.settings.home
    services = ServiceFactory(load_settings(home=home))
    secret = token_of("carol") + "-of-today"
    services.tokens.adopt(secret, name="carol", label="today", reason="tests")
    monkeypatch.setenv("MLOPS_HOME", str(home))
    monkeypatch.setenv("MLOPS_TOKEN", secret)
    return services.checkpoints.public_keys()[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(["audit", "dossier", *arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out.startswith("{") else said.out, said.err


def test_an_archive_is_written_and_verifies_without_any_installation(
    first_key: PublicKey, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file, key = tmp_path / "alpha.zip", tmp_path / "key.pem"
    key.write_text(first_key.pem)
    code, made, _ = run(capsys, "models/alpha@1", "--out", str(file), "--json")
    assert (code, made["subject"], made["approvals"]) == (0, "models/alpha@1", 2)
    shutil.rmtree(tmp_path / "home")
    monkeypatch.delenv("MLOPS_TOKEN")
    code, found, _ = run(capsys, "--verify", str(file), "--public-key", str(key), "--json")
    assert (code, found["status"], found["key_is_yours"], found["checkpoint"]) == (
        0,
        "intact",
        True,
        made["checkpoint"],
    )


@pytest.mark.usefixtures("first_key")
def test_a_changed_archive_exits_with_one_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "alpha.zip"
    run(capsys, "reports/alpha", "--out", str(file))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"report of alpha", b"report of omega"))
    code, found, _ = run(capsys, "--verify", str(file), "--json")
    assert (code, found["status"]) == (1, "broken")
    assert found["problem"].startswith("subject/report.html: expected SHA-256")


@pytest.mark.usefixtures("first_key")
def test_an_unknown_subject_is_one_line_with_the_near_miss(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, _, said = run(capsys, "models/alhpa@1", "--out", str(tmp_path / "d.zip"))
    assert (code, len(said.splitlines())) == (1, 1)
    assert "models/alpha@1" in said


@pytest.mark.parametrize("arguments", [(), ("models/alpha@1", "--verify", "d.zip")])
def test_writing_or_checking_has_to_be_chosen(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert run(capsys, *arguments)[0] == 2


def test_the_steps_on_the_page_work_by_hand(
    first_key: PublicKey, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run(capsys, "prompts/alpha@1.0.0", "--out", str(tmp_path / "alpha.zip"))
    with zipfile.ZipFile(tmp_path / "alpha.zip") as archive:
        archive.extractall(tmp_path / "by_hand")
    monkeypatch.chdir(tmp_path / "by_hand")
    for line in Path("SHA256SUMS").read_text().splitlines():
        sha256, _, name = line.partition("  ")
        assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == sha256
    (recorded,) = [line for line in Path("ledger/ledger.jsonl").read_text().splitlines() if "dossier.export" in line]
    assert json.loads(recorded)["after"] == hashlib.sha256(Path("manifest.json").read_bytes()).hexdigest()
    page = Path("index.html").read_text()
    (command,) = re.findall(r"<code>mlops (audit verify [^<]*)</code>", page)
    arguments = command.replace("\\\n", " ").split()
    assert f"ledger/public_keys/{first_key.key_id}.pem" in arguments
    assert main(arguments) == 0
    assert "intact" in capsys.readouterr().out
