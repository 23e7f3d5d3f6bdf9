"""API tokens: shown once, kept as hashes, ended by time, by hand and with their principal."""

from __future__ import annotations

import hashlib
import re
import sqlite3

import pytest
import sqlalchemy as sa

from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.identity.tokens import InvalidToken, id_of, new_bearer
from mlops_assets.kernel.errors import Forbidden, NotFound, UnknownReference
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.storage.sql.tables import api_token
from tests.identity.house import House


def refused(house: House, bearer: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        house.tokens.authenticate(bearer)
    return str(caught.value)


def test_a_token_stands_for_its_principal_with_its_scopes(house: House):
    kim = house.add("kim", Role.QUANT)
    issued = house.tokens.issue("kim", by=kim, scopes=["feature.*", "platform.read"], label="notebook")
    assert re.fullmatch(r"mlops_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", issued.bearer)
    assert house.tokens.authenticate(issued.bearer) == Principal(
        name="kim",
        roles=frozenset({Role.QUANT}),
        scopes=frozenset({"feature.*", "platform.read"}),
        credential=f"token:{issued.token.id}",
    )


def test_the_secret_is_nowhere_but_with_its_owner(house: House):
    issued = house.tokens.issue("operator", by=house.root)
    secret = issued.bearer.split("_", 2)[2]
    assert secret not in repr(issued)
    with sqlite3.connect(house.folder / "platform.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert secret not in dump
    assert hashlib.sha256(issued.bearer.encode()).hexdigest() in dump
    assert all(hashlib.sha256(issued.bearer.encode()).hexdigest() not in str(one) for one in house.ledger.entries())


def test_roles_are_those_of_now_not_of_the_issue(house: House):
    kim = house.add("kim", Role.QUANT)
    issued = house.tokens.issue("kim", by=kim)
    house.directory.take("kim", [Role.QUANT], by=house.root)
    assert house.tokens.authenticate(issued.bearer).roles == frozenset()


def test_a_token_lives_exactly_as_long_as_it_was_issued_for(house: House):
    issued = house.tokens.issue("operator", by=house.root, days=1)
    house.clock.move(hours=23, minutes=59, seconds=59)
    assert house.tokens.authenticate(issued.bearer).name == "operator"
    house.clock.move(seconds=1)
    refused(house, issued.bearer)


@pytest.mark.parametrize("days", [0, -1, 367, 10**9])
def test_a_token_that_would_live_for_ever_or_never_is_not_issued(house: House, days: int):
    with pytest.raises(InvalidToken, match="366"):
        house.tokens.issue("operator", by=house.root, days=days)
    assert house.tokens.list() == []


def test_whoever_comes_back_comes_back_without_their_tokens(house: House):
    """A token may be why somebody was deactivated. Each one that ends has its entry."""
    kim = house.add("kim", Role.QUANT)
    issued = house.tokens.issue("kim", by=kim)
    session = house.tokens.open_session(issued.bearer, name="kim")
    old = house.tokens.issue("kim", by=kim, days=1)
    house.clock.move(days=2)
    house.directory.deactivate("kim", by=house.root, reason="laptop stolen")
    house.directory.reactivate("kim", by=house.root)
    for one in (issued, session, old):
        refused(house, one.bearer)
    assert [one.subject for one in house.ledger.entries(action="token.revoke")] == [f"tokens/{issued.token.id}"]
    assert [one.reason for one in house.ledger.entries(action="token.revoke")] == ["kim is deactivated"]


def test_sessions_end_with_the_token_that_opened_them(house: House):
    kim = house.add("kim", Role.QUANT)
    issued, other = house.tokens.issue("kim", by=kim), house.tokens.issue("kim", by=kim)
    session, kept = (house.tokens.open_session(one.bearer, name="kim") for one in (issued, other))
    house.tokens.revoke(issued.token.id, by=house.root, reason="lost")
    refused(house, session.bearer)
    assert house.tokens.authenticate(kept.bearer).name == "kim"
    ended = [(one.subject, one.actor) for one in house.ledger.entries(action="token.revoke")]
    assert ended == [(f"tokens/{session.token.id}", "operator"), (f"tokens/{issued.token.id}", "operator")]
    house.directory.deactivate("kim", by=house.root)
    refused(house, kept.bearer)
    assert len(list(house.ledger.entries(action="token.revoke"))) == 4


def test_it_is_told_who_has_held_a_secret_of_somebody(house: House):
    """An admin issues kim's first token; that kim renews it does not make it kim's alone."""
    house.add("kim", Role.QUANT)
    first = house.tokens.issue(
        "kim", by=house.tokens.authenticate(house.tokens.issue("operator", by=house.root).bearer)
    )
    renewed = house.tokens.issue("kim", by=house.tokens.authenticate(first.bearer))
    session = house.tokens.open_session(renewed.bearer, name="kim")
    for one in (renewed, session):
        assert house.tokens.issuers_of(one.token.credential) == ["kim", "operator"]
    assert house.tokens.issuers_of(first.token.credential) == ["operator"]
    assert house.tokens.issuers_of("oidc:https://issuer.example") == []


def test_an_error_of_the_database_shows_no_value(house: House):
    issued = house.tokens.issue("operator", by=house.root)
    sha256 = hashlib.sha256(issued.bearer.encode()).hexdigest()
    with pytest.raises(sa.exc.IntegrityError) as caught, house.database.begin() as connection:
        connection.execute(sa.insert(api_token).values(id="a", sha256=sha256))
    assert sha256 not in str(caught.value)
    assert sha256 not in repr(caught.value)


def test_a_refusal_says_the_same_of_every_token_that_is_not_valid(house: House):
    ann, kim = house.add("ann", Role.QUANT), house.add("kim", Role.QUANT)
    revoked, expired = house.tokens.issue("ann", by=ann), house.tokens.issue("ann", by=ann, days=1)
    of_inactive = house.tokens.issue("kim", by=kim)
    house.tokens.revoke(revoked.token.id, by=ann)
    house.directory.deactivate("kim", by=house.root)
    house.clock.move(days=2)
    said = {refused(house, one.bearer) for one in (revoked, expired, of_inactive)}
    said |= {
        refused(house, text) for text in ("", "wrong", new_bearer(), "토큰", "x" * 100_000, "\udcff\ud800", "a\x00b")
    }
    (words,) = said
    assert "mlops tokens" in words


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text[:-1], lambda text: text + "A", lambda text: text + " "]
)
def test_a_text_that_is_almost_a_token_is_none(house: House, change):
    refused(house, change(house.tokens.issue("operator", by=house.root).bearer))


def test_authentication_is_one_read_by_an_index(house: House):
    issued = house.tokens.issue("operator", by=house.root)
    seen: list[str] = []
    sa.event.listen(house.database.engine, "before_cursor_execute", lambda *about: seen.append(about[2]))
    house.tokens.authenticate(issued.bearer)
    (statement,) = [one for one in seen if one.startswith("SELECT")]
    with house.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("x",)).fetchall()
    assert all("USING INDEX" in step.detail for step in plan)


def test_people_issue_for_themselves_and_admins_for_anybody(house: House):
    ann, kim = house.add("ann", Role.QUANT), house.add("kim", Role.COMPLIANCE)
    with pytest.raises(Forbidden, match=r"ann may not do principal\.manage"):
        house.tokens.issue("kim", by=ann)
    issued = house.tokens.issue("kim", by=house.root)
    assert (issued.token.principal, issued.token.issued_by) == ("kim", "operator")
    with pytest.raises(Forbidden):
        house.tokens.revoke(issued.token.id, by=ann)
    assert house.tokens.revoke(issued.token.id, by=kim).revoked_at == house.clock.now()


def test_a_service_issues_no_tokens(house: House):
    with pytest.raises(Forbidden, match=r"token\.issue"):
        house.tokens.issue("dagster", by=house.directory.principal("dagster"))
    assert house.tokens.issue("dagster", by=house.root).token.principal == "dagster"


def test_a_token_never_gets_more_than_who_issues_it(house: House):
    kim = house.add("kim", Role.QUANT)
    narrow = house.tokens.authenticate(house.tokens.issue("kim", by=kim, scopes=["token.*", "feature.release"]).bearer)
    assert house.tokens.issue("kim", by=narrow).token.scopes == {"token.*", "feature.release"}
    assert house.tokens.issue("kim", by=narrow, scopes=["token.issue"]).token.scopes == {"token.issue"}
    for more in ("*", "feature.*", "platform.read"):
        with pytest.raises(Forbidden, match="more than kim has"):
            house.tokens.issue("kim", by=narrow, scopes=[more])
    reader = house.tokens.authenticate(house.tokens.issue("kim", by=kim, scopes=["platform.read"]).bearer)
    with pytest.raises(Forbidden, match=r"token\.issue"):
        house.tokens.issue("kim", by=reader)


def test_what_is_asked_for_must_be_there(house: House):
    with pytest.raises(UnknownReference, match="scope"):
        house.tokens.issue("operator", by=house.root, scopes=["everything"])
    with pytest.raises(Forbidden, match="kimm"):
        house.tokens.issue("kimm", by=house.root)
    with pytest.raises(NotFound):
        house.tokens.revoke("0" * 16, by=house.root)
    with pytest.raises(InvalidToken, match="label"):
        house.tokens.issue("operator", by=house.root, label="a\nb")
    assert house.tokens.list() == []


def test_nobody_who_is_deactivated_gets_a_token(house: House):
    house.add("kim", Role.QUANT)
    house.directory.deactivate("kim", by=house.root)
    with pytest.raises(Forbidden, match="deactivated"):
        house.tokens.issue("kim", by=house.root)


def test_every_issue_and_revocation_is_in_the_ledger_once(house: House):
    issued = house.tokens.issue("operator", by=house.root, label="ci")
    house.tokens.revoke(issued.token.id, by=house.root, reason="lost")
    house.tokens.revoke(issued.token.id, by=house.root, reason="again")
    entries = list(house.ledger.entries(subject=f"tokens/{issued.token.id}"))
    assert [(one.actor, one.action, one.reason) for one in entries] == [
        ("operator", "token.issue", "ci"),
        ("operator", "token.revoke", "lost"),
    ]
    assert entries[1].before == entries[0].after


def test_the_database_refuses_a_token_that_is_brought_back(house: House):
    issued = house.tokens.issue("operator", by=house.root)
    house.tokens.revoke(issued.token.id, by=house.root)
    with pytest.raises(sa.exc.IntegrityError, match="revoked"), house.database.begin() as connection:
        connection.execute(sa.update(api_token).values(revoked_at=None))
    refused(house, issued.bearer)


def test_ids_of_texts_of_earlier_versions_come_from_their_hash():
    assert id_of("an-earlier-token") == hashlib.sha256(b"an-earlier-token").hexdigest()[:16]
