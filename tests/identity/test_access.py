"""The policy table says who may do what, and nothing else does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.identity.access import is_covered, load_access
from mlops_assets.kernel.errors import Forbidden, InvalidDeclaration, UnknownReference
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.settings import PACKAGE
from tests.identity.house import ACCESS

POLICY = load_access(ACCESS)

RESERVED: frozenset[str] = frozenset()
"""Actions of the table that nothing asks for yet."""


def somebody(*roles: Role, scopes: frozenset[str] = frozenset({"*"})) -> Principal:
    return Principal(name="kim", roles=frozenset(roles), scopes=scopes)


def test_a_role_of_the_action_opens_and_every_other_one_does_not():
    for action, rule in POLICY.actions.items():
        for role in Role:
            assert POLICY.allows(somebody(role), action) == (role in rule.roles)


def test_who_hands_out_roles_decides_nothing():
    may = set(POLICY.allowed_to(somebody(Role.ADMIN)))
    assert not {action for action in may if action.startswith("approval.")}


def test_nobody_without_a_role_may_do_anything():
    assert POLICY.allowed_to(somebody()) == ()


@pytest.mark.parametrize(
    ("scopes", "is_allowed"),
    [
        ({"*"}, True),
        ({"approval.*"}, True),
        ({"approval.decide"}, True),
        ({"approval.submit"}, False),
        ({"approval"}, False),
        ({"approval.decid*"}, False),
        ({"platform.read", "approval.decide"}, True),
        (set(), False),
    ],
)
def test_scopes_narrow_what_the_roles_allow(scopes: set[str], is_allowed: bool):
    assert POLICY.allows(somebody(Role.COMPLIANCE, scopes=frozenset(scopes)), "approval.decide") == is_allowed


ACTIONS = st.sampled_from(sorted(POLICY.actions))
SCOPES = st.one_of(st.just("*"), ACTIONS, ACTIONS.map(lambda action: action.partition(".")[0] + ".*"))


@given(narrow=SCOPES, wide=st.frozensets(SCOPES, max_size=4), action=ACTIONS)
def test_a_scope_within_others_includes_nothing_that_they_do_not(narrow: str, wide: frozenset[str], action: str):
    if is_covered(narrow, wide) and is_covered(action, (narrow,)):
        assert is_covered(action, wide)


def test_a_refusal_says_whose_roles_may_what_the_caller_has_and_who_changes_it():
    with pytest.raises(Forbidden) as caught:
        POLICY.require(somebody(Role.VIEWER), "feature.rollback")
    for words in ("kim", "feature.rollback", "data_engineer, mlops", "has viewer", "mlops principals grant kim"):
        assert words in str(caught.value)
    with pytest.raises(Forbidden, match=r"scopes are platform\.read"):
        POLICY.require(somebody(Role.MLOPS, scopes=frozenset({"platform.read"})), "feature.rollback")


def test_an_unknown_action_is_a_mistake_of_the_programmer():
    with pytest.raises(ValueError, match=r"feature\.explode"):
        POLICY.allows(somebody(Role.ADMIN), "feature.explode")


def test_an_unknown_scope_is_named_with_the_near_miss():
    with pytest.raises(UnknownReference, match=r"aproval.*did you mean 'approval\.\*'"):
        POLICY.known_scopes(["platform.read", "aproval.*"], asked_by="a test")


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("a.b: {roles: [boss], description: x}", "a.b: roles.0", "boss"),
        ("a.b: {roles: [admin]}", "a.b: description", "Add"),
        ("a.b: {roles: [admin], description: x, role: [viewer]}", "a.b: role", "Did you mean 'roles'"),
        ("a.b: {roles: [], description: x}", "a.b: roles", "empty"),
        ("a.b: {roles: admin, description: x}", "a.b: roles", "admin"),
        ("a.b:", "a.b", "roles"),
        ("ab: {roles: [admin], description: x}", "ab", "noun.verb"),
        ("a.b.c: {roles: [admin], description: x}", "a.b.c", "noun.verb"),
        ("'*': {roles: [admin], description: x}", "*", "noun.verb"),
        ("a.b: {roles: [admin], description: x}\na.b: {roles: [viewer], description: x}", "(file)", "twice"),
        ("- a.b", "(file)", "mapping"),
    ],
)
def test_a_wrong_table_names_file_field_and_remedy(tmp_path: Path, text: str, field: str, words: str):
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(InvalidDeclaration) as caught:
        load_access(file)
    assert (caught.value.file, caught.value.field) == (str(file), field)
    assert words in str(caught.value)


def test_a_missing_table_is_no_permission(tmp_path: Path):
    with pytest.raises(InvalidDeclaration, match="nowhere"):
        load_access(tmp_path / "nowhere.yaml")


def test_every_action_that_the_code_asks_for_is_in_the_table_and_the_other_way_round():
    asked = {action for file in PACKAGE.rglob("*.py") for action in asked_in(file)}
    assert asked <= set(POLICY.actions)
    assert set(POLICY.actions) - asked == RESERVED


ASKS = frozenset({"acting", "require", "allows", "allowed", "_require_for"})


def asked_in(file: Path) -> Iterator[str]:
    """Yield the actions that the calls of a file ask for, written out or by a constant of the module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ASKS:
            for part in (inner for argument in call.args for inner in ast.walk(argument)):
                value = constants.get(part.id) if isinstance(part, ast.Name) else getattr(part, "value", None)
                if isinstance(value, str) and value.count(".") == 1:
                    yield value
