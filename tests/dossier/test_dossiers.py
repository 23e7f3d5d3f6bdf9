"""What is in a dossier, what is not, and that it is written whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mlops_assets.dossier.verify import verify_dossier
from mlops_assets.kernel.errors import Conflict, Forbidden, IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import bytes_sha256, fingerprint
from mlops_assets.ledger.checkpoints import BrokenChain
from mlops_assets.storage.sql import tables
from tests.dossier.worlds import AT, HOSTILE, World, filled_world

HEX = re.compile(r"\b[0-9a-f]{64}\b")
SUBJECTS = ("models/alpha@1", "reports/alpha", "prompts/alpha@1.0.0")
IDENTITY = {
    "snapshot": "fingerprint",
    "model_version": "fingerprint",
    "replay": "result_fingerprint",
    "report": "sha256",
    "prompt_evaluation": "id",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return filled_world(tmp_path)


def export(world: World, subject: str, out: Path, **options: Any) -> dict[str, bytes]:
    made = world.services.dossiers.export(subject, by=world.who("carol"), out=out, **options)
    with zipfile.ZipFile(made.file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows_of(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    with world.services.database.read() as connection:
        for name in (*IDENTITY, "deployment", "approval"):
            for row in connection.execute(sa.select(tables.metadata.tables[name])).mappings():
                yield name, dict(row)


def hexes(value: object) -> set[str]:
    return set(HEX.findall(json.dumps(value, default=str)))


def everything_behind(world: World, start: str) -> set[str]:
    """Every fingerprint that follows from rows alone, whatever their columns are called."""
    known, rows = {start}, list(rows_of(world))
    while True:
        more = {
            found for name, row in rows if name in IDENTITY and row[IDENTITY[name]] in known for found in hexes(row)
        }
        if more <= known:
            return known
        known |= more


def said_in(files: dict[str, bytes]) -> set[str]:
    """The fingerprints that a dossier speaks of, apart from the whole ledger that goes with it."""
    return {
        found
        for name, content in files.items()
        if not name.startswith("ledger/")
        for found in HEX.findall(content.decode(errors="replace"))
    }


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_fingerprint_that_a_subject_rests_on_is_in_its_dossier(subject: str, world: World, tmp_path: Path):
    starts = {
        "models/alpha@1": fingerprint("model alpha"),
        "reports/alpha": world.services.reports.latest("alpha").sha256,
        "prompts/alpha@1.0.0": fingerprint("evaluation alpha"),
    }
    behind = everything_behind(world, starts[subject])
    assert len(behind) > 8
    assert behind <= said_in(export(world, subject, tmp_path / "d.zip"))


def test_what_was_made_from_a_model_is_in_its_dossier(world: World, tmp_path: Path):
    model = fingerprint("model alpha")
    made = {
        row.get(IDENTITY.get(name, "id"))
        for name, row in rows_of(world)
        if model in hexes(row) or (row.get("model"), row.get("model_version")) == ("alpha", 1)
    }
    assert len(made) >= 8  # itself, predictions, explanations, curve, fills, replay, report, deployment, approval
    files = export(world, "models/alpha@1", tmp_path / "d.zip")
    assert made <= said_in(files)
    assert files["subject/model.lgb"] == b"tree of alpha"
    assert json.loads(files["subject/checklists.json"])[0]["checklist"][0]["name"] == "report.alpha"
    (limits,) = json.loads(files["subject/drift_limits.json"]).values()
    assert limits["limits"] == [{"feature": "alpha_x", "statistic": "psi", "threshold": 0.2}]
    for kept in ("report.html", "feature_releases/alpha_view@1.0.0/row.json"):
        assert [name for name in files if name.endswith(kept)]
    assert [name for name in files if name.startswith("related/look_ahead_certificates/alpha_view@")]


def test_drift_and_its_alert_are_in_a_model_s_dossier_alone(world: World, tmp_path: Path):
    files = export(world, "models/alpha@1", tmp_path / "d.zip")
    actions = [json.loads(line)["action"] for line in files["entries.jsonl"].splitlines()]
    assert {"drift_event.open", "alert.raise"} <= set(actions)
    findings = json.loads(files["index.json"])["findings"]
    assert {"what": "open_drift", "about": "drift/alpha/alpha_view", "detail": "alpha moved"} in findings
    assert b"drift_event" not in export(world, "reports/alpha", tmp_path / "r.zip")["entries.jsonl"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_nothing_of_another_line_is_in_a_dossier(subject: str, world: World, tmp_path: Path):
    files = export(world, subject, tmp_path / "d.zip")
    of_beta = everything_behind(world, fingerprint("model beta")) | everything_behind(
        world, fingerprint("evaluation beta")
    )
    of_alpha = everything_behind(world, fingerprint("model alpha")) | everything_behind(
        world, fingerprint("evaluation alpha")
    )
    assert not (of_beta - of_alpha) & said_in(files)
    assert not [name for name in files if "beta" in name]
    assert b"beta" not in files["entries.jsonl"] + files["index.html"]


def test_the_entries_tell_who_approved_and_that_a_violation_happened(world: World, tmp_path: Path):
    files = export(world, "reports/alpha", tmp_path / "d.zip")
    lines = [json.loads(line) for line in files["entries.jsonl"].splitlines()]
    actions = [line["action"] for line in lines]
    assert actions.count("approval.override") == 2
    assert {"report.seal", "replay.run", "snapshot.publish", "deployment.request", "principal.add"} <= set(actions)
    index = json.loads(files["index.json"])
    assert [one["about"] for one in index["findings"] if one["what"] == "override"]
    (overridden,) = [one for one in index["approvals"] if one["is_override"]]
    assert {one["principal"] for one in overridden["overrides"]} == {"carol", "mo"}
    assert {"dana", "quincy"} <= {one["principal"] for one in overridden["parties"]}


def test_an_approval_that_is_over_is_said(world: World, tmp_path: Path):
    late = World(tmp_path / "home", at=AT + timedelta(days=400))
    findings = json.loads(export(late, "models/alpha@1", tmp_path / "d.zip")["index.json"])["findings"]
    over = {one["detail"] for one in findings if one["what"] == "approval_over"}
    assert over == {"deployments/alpha@1/staging", "reports/alpha"}
    now = json.loads(export(world, "models/alpha@1", tmp_path / "now.zip")["index.json"])["findings"]
    assert not [one for one in now if one["what"] == "approval_over"]


def test_the_ledger_records_the_export_and_the_archive_holds_that_record(world: World, tmp_path: Path):
    files = export(world, "models/alpha@1", tmp_path / "d.zip")
    last = json.loads(files["ledger/ledger.jsonl"].splitlines()[-1])
    assert (last["actor"], last["action"], last["subject"]) == ("carol", "dossier.export", "models/alpha@1")
    assert last["after"] == bytes_sha256(files["manifest.json"])
    assert verify_dossier(tmp_path / "d.zip").is_intact


def test_a_second_dossier_tells_of_the_first(world: World, tmp_path: Path):
    export(world, "models/alpha@1", tmp_path / "1.zip")
    second = export(world, "models/alpha@1", tmp_path / "2.zip")
    assert b'"dossier.export"' in second["entries.jsonl"]
    assert b'"dossier.export"' not in export(world, "reports/alpha", tmp_path / "3.zip")["entries.jsonl"]


def test_the_same_state_gives_the_same_bytes(world: World, tmp_path: Path):
    world.services.checkpoints.sign()
    world.services.database.dispose()
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "home", tmp_path / name)
        export(World(tmp_path / name), "models/alpha@1", tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_page_escapes_what_people_wrote_and_runs_nothing(subject: str, world: World, tmp_path: Path):
    page = export(world, subject, tmp_path / "d.zip")["index.html"].decode()
    assert "<script" not in page
    assert "onerror" not in page
    assert HOSTILE not in page
    links = re.findall(r'href="([^"]*)"', page)
    files = set(zipfile.ZipFile(tmp_path / "d.zip").namelist())
    assert links
    assert {link.removeprefix("./").replace("%40", "@") for link in links} <= files


def test_the_page_shows_what_people_wrote(world: World, tmp_path: Path):
    page = export(world, "models/alpha@1", tmp_path / "d.zip")["index.html"].decode()
    assert "&lt;script&gt;alert(&#39;dossier&#39;)&lt;/script&gt;&#34;&#39;&amp;{{ 7*7 }}" in page


def test_a_missing_blob_is_named_and_nothing_is_written(world: World, tmp_path: Path):
    sha256 = bytes_sha256(b"tree of alpha")
    world.services.blobs.path(sha256).unlink()
    before = world.services.ledger.verify().entries
    (tmp_path / "out").mkdir()
    with pytest.raises(NotFound, match=rf"models/alpha@1.*{sha256}"):
        export(world, "models/alpha@1", tmp_path / "out" / "d.zip")
    assert list((tmp_path / "out").iterdir()) == []
    assert world.services.ledger.verify().entries == before


def test_a_damaged_data_file_is_named_and_nothing_is_written(world: World, tmp_path: Path):
    published = world.services.snapshots.head("predictions/alpha")
    (path,) = world.services.snapshots.paths(published)
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(IntegrityViolation, match=re.escape(path.name)):
        export(world, "models/alpha@1", tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


def test_a_ledger_that_does_not_hold_gives_no_dossier(world: World, tmp_path: Path):
    with world.services.database.begin() as connection:
        for trigger in connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry'"
        ).all():
            connection.exec_driver_sql(f'DROP TRIGGER "{trigger.name}"')
        connection.exec_driver_sql("UPDATE ledger_entry SET actor = 'nobody' WHERE seq = 3")
    with pytest.raises(BrokenChain, match="entry 3"):
        export(world, "models/alpha@1", tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


def test_a_file_that_is_there_stays_unless_forced(world: World, tmp_path: Path):
    (tmp_path / "d.zip").write_bytes(b"mine")
    with pytest.raises(Conflict, match="--force"):
        export(world, "models/alpha@1", tmp_path / "d.zip")
    assert (tmp_path / "d.zip").read_bytes() == b"mine"
    assert "index.html" in export(world, "models/alpha@1", tmp_path / "d.zip", force=True)


def test_who_may_not_export_gets_nothing(world: World, tmp_path: Path):
    with pytest.raises(Forbidden, match=r"audit\.export"):
        world.services.dossiers.export("models/alpha@1", by=world.who("vi"), out=tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("models/alhpa@1", "models/alpha@1"),
        ("models/alpha@2", "models/alpha@1"),
        ("models/alpha", "models/alpha@1"),
        ("reports/alphaa", "reports/alpha"),
        ("reports/alpha@ffff", "reports/alpha"),
        ("prompts/alpha@1.0.1", "prompts/alpha@1.0.0"),
        ("../../etc/passwd", "Write models/"),
    ],
)
def test_an_unknown_subject_is_answered_with_near_misses(asked: str, hint: str, world: World, tmp_path: Path):
    with pytest.raises(NotFound, match=re.escape(hint)):
        export(world, asked, tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


def test_a_report_is_found_by_the_beginning_of_its_hash(world: World, tmp_path: Path):
    sha256 = world.services.reports.latest("alpha").sha256
    made = world.services.dossiers.export(f"reports/alpha@{sha256[:8]}", by=world.who("carol"), out=tmp_path / "d.zip")
    assert made.subject.version == sha256
    assert made.gaps == 0


def test_what_is_named_and_not_stored_is_said(world: World, tmp_path: Path):
    with world.services.database.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER model_version_keeps_identity")
        connection.execute(
            sa.update(tables.model_version)
            .where(tables.model_version.c.model == "alpha")
            .values(training_set_fingerprint="ab" * 32)
        )
    index = json.loads(export(world, "models/alpha@1", tmp_path / "d.zip")["index.json"])
    (gap,) = [one for one in index["findings"] if one["what"] == "gap"]
    assert (gap["about"], gap["detail"]) == (f"datasets/alpha_daily {'ab' * 32}", "models/alpha@1")
