"""Directory and tokens through random days of work: who should get in does, and nobody else ever."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.kernel.errors import Conflict, Forbidden
from mlops_assets.kernel.identity import Role
from tests.identity.house import House, house_in

NAMES = st.sampled_from(["operator", "ann", "bob", "cyd"])
ROLES = st.sampled_from([Role.ADMIN, Role.QUANT, Role.COMPLIANCE])
SCOPES = st.sampled_from([frozenset({"*"}), frozenset({"platform.read"}), frozenset({"token.*", "feature.*"})])


@dataclass
class Person:
    """What the model knows of a principal."""

    roles: frozenset[Role]
    is_active: bool = True


@dataclass(frozen=True)
class Token:
    """What the model knows of a token."""

    bearer: str
    id: str
    owner: str
    scopes: frozenset[str]
    ends_at: datetime
    is_revoked: bool = False


class Work(RuleBasedStateMachine):
    """Drives the real stores beside a model of two dictionaries."""

    template: Path
    tokens: Bundle[str] = Bundle("tokens")

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.house = House(self.folder)
        root = frozenset({Role.ADMIN, Role.DATA_ENGINEER, Role.MLOPS, Role.QUANT})
        self.people = {"operator": Person(root)}
        self.add("ann", Role.ADMIN)
        self.add("bob", Role.QUANT)
        self.issued: dict[str, Token] = {}

    def teardown(self) -> None:
        self.house.database.dispose()
        shutil.rmtree(self.folder)

    def admin(self) -> str:
        return next(name for name, one in self.people.items() if one.is_active and Role.ADMIN in one.roles)

    def leaves_no_admin(self, name: str, after: Person) -> bool:
        people = {**self.people, name: after}.values()
        return not any(one.is_active and Role.ADMIN in one.roles for one in people)

    @rule(name=NAMES, role=ROLES)
    def add(self, name: str, role: Role) -> None:
        if name not in self.people:
            self.house.add_as(name, role, by=self.admin())
            self.people[name] = Person(frozenset({role}))

    @rule(name=NAMES, role=ROLES, verb=st.sampled_from(["grant", "take"]))
    def change_roles(self, name: str, role: Role, verb: str) -> None:
        self.change(name, role, verb)

    @rule(name=NAMES)
    def switch(self, name: str) -> None:
        is_active = name in self.people and self.people[name].is_active
        self.change(name, Role.VIEWER, "deactivate" if is_active else "reactivate")

    def change(self, name: str, role: Role, verb: str) -> None:
        if name not in self.people:
            return
        now = self.people[name]
        after = {
            "grant": replace(now, roles=now.roles | {role}),
            "take": replace(now, roles=now.roles - {role}),
            "deactivate": replace(now, is_active=False),
            "reactivate": replace(now, is_active=True),
        }[verb]
        by = self.house.directory.principal(self.admin())
        call = getattr(self.house.directory, verb)
        arguments = (name, [role]) if verb in ("grant", "take") else (name,)
        if self.leaves_no_admin(name, after):
            with pytest.raises(Conflict):
                call(*arguments, by=by)
        else:
            call(*arguments, by=by)
            self.people[name] = after
            if verb == "deactivate":
                ended = {bearer: one for bearer, one in self.issued.items() if one.owner == name}
                self.issued |= {bearer: replace(one, is_revoked=True) for bearer, one in ended.items()}

    @rule(target=tokens, name=NAMES, scopes=SCOPES, days=st.integers(1, 5))
    def issue(self, name: str, scopes: frozenset[str], days: int):
        if name not in self.people:
            return multiple()
        by = self.house.directory.principal(self.admin())
        if not self.people[name].is_active:
            with pytest.raises(Forbidden):
                self.house.tokens.issue(name, by=by, scopes=scopes, days=days)
            return multiple()
        made = self.house.tokens.issue(name, by=by, scopes=scopes, days=days)
        ends_at = self.house.clock.now() + timedelta(days=days)
        self.issued[made.bearer] = Token(made.bearer, made.token.id, name, scopes, ends_at)
        return made.bearer

    @rule(bearer=consumes(tokens))
    def revoke(self, bearer: str) -> None:
        token = self.issued[bearer]
        self.house.tokens.revoke(token.id, by=self.house.directory.principal(self.admin()))
        self.issued[bearer] = replace(token, is_revoked=True)

    @rule(bearer=tokens, target_name=NAMES)
    def use_a_token_to_issue_another(self, bearer: str, target_name: str) -> None:
        """Whoever issues for somebody else manages principals, and no token gets more than the one it came from."""
        if not self.is_valid(self.issued[bearer]) or target_name not in self.people:
            return
        caller = self.house.tokens.authenticate(bearer)
        is_own = target_name == caller.name
        may = (
            Role.ADMIN in caller.roles and "*" in caller.scopes
            if not is_own
            else bool(caller.roles) and bool(caller.scopes & {"*", "token.*"})
        )
        if may and self.people[target_name].is_active:
            made = self.house.tokens.issue(target_name, by=caller, days=1)
            assert made.token.scopes == caller.scopes
            ends_at = self.house.clock.now() + timedelta(days=1)
            self.issued[made.bearer] = Token(made.bearer, made.token.id, target_name, caller.scopes, ends_at)
        else:
            with pytest.raises(Forbidden):
                self.house.tokens.issue(target_name, by=caller, days=1)

    @rule(hours=st.integers(1, 60))
    def wait(self, hours: int) -> None:
        self.house.clock.move(hours=hours)

    @rule()
    def restart(self) -> None:
        self.house.database.dispose()
        self.house = House(self.folder, self.house.clock)

    def is_valid(self, token: Token) -> bool:
        is_live = not token.is_revoked and self.house.clock.now() < token.ends_at
        return is_live and self.people[token.owner].is_active

    @invariant()
    def exactly_those_get_in_who_should(self) -> None:
        for bearer, token in self.issued.items():
            if self.is_valid(token):
                caller = self.house.tokens.authenticate(bearer)
                assert (caller.name, caller.scopes) == (token.owner, token.scopes)
                assert caller.roles == self.people[token.owner].roles
            else:
                with pytest.raises(Unauthenticated):
                    self.house.tokens.authenticate(bearer)

    @invariant()
    def the_ledger_holds_one_entry_a_change(self) -> None:
        assert self.house.ledger.verify().is_intact


def test_nobody_gets_in_who_should_not(tmp_path_factory: pytest.TempPathFactory):
    template = tmp_path_factory.mktemp("template")
    made = house_in(template)
    made.database.dispose()
    machine = type("Work", (Work,), {"template": template})
    case = machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=30)
    case("runTest").runTest()
