"""What the database itself refuses of who serves, to whoever writes past the platform."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.storage.sql.database import Database
from tests.ledger.databases import has_postgres, postgres_cluster
from tests.lifecycle.deployment_worlds import MODEL, STAGING, Floor

needs_postgres = pytest.mark.skipif(not has_postgres(), reason="no PostgreSQL server is installed here")
MOVE = (
    "INSERT INTO serving_move (model, environment, epoch, action, deployment_id, champion_id, champion_version, "
    "challenger_id, challenger_version, challenger_mode, at, actor, reason, ledger_seq) VALUES "
    "(:model, :environment, :epoch, 'champion', :id, :champion, :version, :challenger, :challenger_version, :mode, "
    "'2026-01-05 12:00:00', 'eve', '', :seq)"
)
WORD = f"INSERT INTO attestation VALUES ('m', 1, 'i', 'ana', '{'0' * 64}', 's', '', '2026-01-05 12:00:00', {{seq}})"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Floor]:
    """A floor with a champion (version 1), one that was rolled back (2) and one that waits for approval (3)."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    else:
        cluster: str = request.getfixturevalue("cluster")
        name = f"t{abs(hash(request.node.name)):x}"
        admin = sa.create_engine(cluster, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        admin.dispose()
        database = Database(cluster.removesuffix("postgres") + name)
    database.migrate()
    floor = Floor(database)
    floor.champion(1)
    floor.champion(2)
    floor.rollback()
    floor.ask(3)
    yield floor
    database.dispose()


def of(floor: Floor, number: int) -> Deployment:
    return next(one for one in floor.deployments.list() if one.model_version == number)


def move(floor: Floor, champion: Deployment | None, challenger: Deployment | None = None, **changes: object) -> None:
    """Write a move with a ledger entry of its own, as somebody could who knows the tables."""
    asked = champion or challenger
    subject = "deployments/x@1/staging" if asked is None else asked.subject
    values: dict[str, object] = {
        "model": MODEL,
        "environment": STAGING,
        "epoch": floor.now().epoch + 1,
        "id": "0" * 64 if asked is None else asked.id,
        "champion": None if champion is None else champion.id,
        "version": None if champion is None else champion.model_version,
        "challenger": None if challenger is None else challenger.id,
        "challenger_version": None if challenger is None else challenger.model_version,
        "mode": None if challenger is None else "shadow",
    }
    with floor.database.begin() as connection:
        if "seq" not in changes:
            entry = Change(actor="eve", action="deployment.promote", subject=subject)
            values["seq"] = floor.ledger.append(connection, entry)
        connection.execute(sa.text(MOVE), {**values, **changes})


def test_a_move_that_does_not_follow_or_is_not_whole_is_refused(guarded: Floor):
    one, three, before = of(guarded, 1), guarded.approved(3), guarded.now()
    attempts = [
        ("follows the last one", lambda: move(guarded, one, epoch=before.epoch)),
        ("follows the last one", lambda: move(guarded, one, epoch=before.epoch + 2)),
        ("a deployment and a version|served before", lambda: move(guarded, one, version=None)),
        ("a version and a mode|becomes challenger", lambda: move(guarded, one, three, mode=None)),
        ("beside a champion", lambda: move(guarded, None, three)),
        ("with its ledger entry", lambda: move(guarded, three, seq=1)),
    ]
    for words, attempt in attempts:
        with pytest.raises(sa.exc.IntegrityError, match=words):
            attempt()
    assert guarded.now() == before
    assert guarded.ledger.verify().is_intact


def test_what_is_not_approved_does_not_serve(guarded: Floor):
    one, two, three = (of(guarded, number) for number in (1, 2, 3))
    before = guarded.now()
    attempts = [
        ("only what is approved, or served before", lambda: move(guarded, three)),
        ("only what is approved, or served before", lambda: move(guarded, two)),
        ("only what is approved becomes challenger", lambda: move(guarded, one, three)),
        ("only what is approved", lambda: move(guarded, one, environment="production", epoch=1)),
    ]
    for words, attempt in attempts:
        with pytest.raises(sa.exc.IntegrityError, match=words):
            attempt()
    assert guarded.now() == before


def test_who_serves_goes_on_as_the_version_that_was_approved(guarded: Floor):
    one, before = of(guarded, 1), guarded.now()
    with pytest.raises(sa.exc.IntegrityError, match="only what is approved, or served before"):
        move(guarded, one, version=2)
    assert guarded.now() == before


def test_what_was_superseded_without_having_served_does_not_serve(guarded: Floor):
    three, before = of(guarded, 3), guarded.now()
    with guarded.database.begin() as connection:
        connection.execute(sa.text("UPDATE deployment SET state = 'superseded' WHERE model_version = 3"))
    with pytest.raises(sa.exc.IntegrityError, match="only what is approved, or served before"):
        move(guarded, three)
    assert guarded.now() == before


def test_a_move_has_a_ledger_entry_of_its_own_that_says_so(guarded: Floor):
    """The newest entry may be of a move already, of another deployment, or of something that moves nobody."""
    floor, three = guarded, guarded.approved(3)
    floor.promote(three)
    last = max(one.seq for one in floor.ledger.entries(action="deployment.*"))
    before = floor.now()
    with pytest.raises(sa.exc.IntegrityError, match="with its ledger entry"):
        move(floor, None, seq=last, id=three.id)
    for action, subject in (("deployment.promote", of(floor, 1).subject), ("deployment.gather", three.subject)):
        with floor.database.begin() as connection:
            seq = floor.ledger.append(connection, Change(actor="ben", action=action, subject=subject))
        with pytest.raises(sa.exc.IntegrityError, match="with its ledger entry"):
            move(floor, None, seq=seq, id=three.id)
    assert floor.now() == before


@pytest.mark.parametrize("change", ["plan = '{}'", "checklist = '[]'", "tier = 3", "evidence_fingerprint = 'x'"])
@pytest.mark.parametrize("number", [1, 3])
def test_what_was_approved_or_waits_for_it_is_not_changed(guarded: Floor, number: int, change: str):
    with pytest.raises(sa.exc.IntegrityError, match="asked anew"), guarded.database.begin() as connection:
        connection.execute(sa.text(f"UPDATE deployment SET {change} WHERE model_version = {number}"))


@pytest.mark.parametrize("change", ["metadata = '{\"declaration\": 1}'", "metrics = '{\"auc\": 1}'", "version = 9"])
def test_what_a_version_learned_and_how_it_answers_never_changes(guarded: Floor, change: str):
    with pytest.raises(sa.exc.IntegrityError, match="what a version is"), guarded.database.begin() as connection:
        connection.exec_driver_sql(f"UPDATE model_version SET {change} WHERE version = 1")


@pytest.mark.parametrize(
    ("actor", "action", "subject"),
    [
        ("eve", "attestation.add", "models/m@1"),
        ("ana", "approval.draft", "models/m@1"),
        ("ana", "attestation.add", "models/m@2"),
    ],
)
def test_a_word_is_kept_with_the_ledger_entry_of_who_gave_it(guarded: Floor, actor: str, action: str, subject: str):
    with (
        pytest.raises(sa.exc.IntegrityError, match="with its ledger entry"),
        guarded.database.begin() as connection,
    ):
        seq = guarded.ledger.append(connection, Change(actor=actor, action=action, subject=subject))
        connection.execute(sa.text(WORD.format(seq=seq)))


def test_an_approval_that_was_taken_back_lets_nothing_serve(guarded: Floor):
    floor = guarded
    three = floor.approved(3)
    (standing,) = floor.approvals.list(subject=three.subject)
    floor.approvals.revoke(standing.id, by=floor.ana, reason="wait")
    assert floor.state(three) is State.APPROVED
    with pytest.raises(sa.exc.IntegrityError, match="only what is approved"):
        move(floor, three)


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (3, "state = 'champion'", "does not move that way"),
        (3, "state = 'approved', model_version = 9", "never changes"),
        (2, "state = 'champion'", "does not move that way"),
        (1, "state = 'retired'", "the serving log says who is champion"),
        (1, "state = 'superseded'", "the serving log says who is champion"),
        (1, "environment = 'production'", "never changes"),
    ],
)
def test_a_deployment_does_not_change_past_the_log(guarded: Floor, number: int, change: str, words: str):
    with pytest.raises(sa.exc.IntegrityError, match=words), guarded.database.begin() as connection:
        connection.execute(sa.text(f"UPDATE deployment SET {change} WHERE model_version = {number}"))


def test_an_approved_deployment_is_not_called_champion_past_the_log(guarded: Floor):
    guarded.approved(3)
    for state in ("champion", "shadow"):
        with pytest.raises(sa.exc.IntegrityError, match="the serving log says"), guarded.database.begin() as connection:
            connection.execute(sa.text(f"UPDATE deployment SET state = '{state}' WHERE model_version = 3"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE serving_move SET actor = 'eve'",
        "DELETE FROM serving_move",
        "DELETE FROM deployment",
        "UPDATE attestation SET statement = 'x'",
        "DELETE FROM model_version",
    ],
)
def test_what_happened_is_neither_changed_nor_deleted(guarded: Floor, statement: str):
    with guarded.database.begin() as connection:
        entry = Change(actor="ana", action="attestation.add", subject="models/m@1")
        seq = guarded.ledger.append(connection, entry)
        connection.execute(sa.text(WORD.format(seq=seq)))
    with pytest.raises(sa.exc.IntegrityError, match="never changed or deleted"), guarded.database.begin() as connection:
        connection.execute(sa.text(statement))


def test_a_deployment_begins_at_its_beginning(guarded: Floor):
    columns = (
        "model, environment, tier, evidence_fingerprint, checklist, plan, epoch, created_at, updated_at, created_by"
    )
    row = (
        f"INSERT INTO deployment (id, model_version, state, {columns}) "
        f"SELECT 'x', 9, 'approved', {columns} FROM deployment WHERE model_version = 3"
    )
    with pytest.raises(sa.exc.IntegrityError, match="begins as registered"), guarded.database.begin() as connection:
        connection.execute(sa.text(row))
