"""The rules of the tiers: those that ship, and files that say something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.governance.rules import load_approval_rules
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.identity import Role
from tests.governance.worlds import ACCESS, CATALOG, RULES

SHIPPED = (CATALOG / "approval_rules.yaml").read_text(encoding="utf-8")


def test_tier_one_takes_two_people_one_of_them_compliance():
    assert {
        tier: (rule.quorum, rule.required_role, rule.decide_within_hours) for tier, rule in RULES.tiers.items()
    } == {1: (2, Role.COMPLIANCE, 24), 2: (2, None, 48), 3: (1, None, 72)}
    assert RULES.emergency.valid_hours == 24


def test_the_role_that_a_tier_requires_may_decide():
    deciding = ACCESS.actions["approval.decide"].roles
    assert all(rule.required_role in {None, *deciding} for rule in RULES.tiers.values())
    assert Role.ADMIN not in deciding


def test_the_rule_is_a_part_that_moves_when_the_rule_does(tmp_path: Path):
    file = tmp_path / "approval_rules.yaml"
    file.write_text(SHIPPED.replace("quorum: 2", "quorum: 3", 1))
    changed = load_approval_rules(file)
    assert changed.of(1).as_part().fingerprint != RULES.of(1).as_part().fingerprint
    assert changed.of(2).as_part() == RULES.of(2).as_part()
    with pytest.raises(ValueError, match="no tier 4; tiers are 1, 2, 3"):
        RULES.of(4)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("quorum: 2", "quorum: 0", r"tiers\.0\.quorum.*Found 0"),
        ("quorum: 2", "qorum: 2", "Did you mean 'quorum'"),
        ("required_role: compliance", "required_role: boss", r"required_role"),
        ("required_role: compliance", "required_role: service", "never decides"),
        ("decide_within_hours: 24", "decide_within_hours: 400", "reaches beyond"),
        ("- tier: 3", "- tier: 2", "declares the tiers 1, 2, 2.*Declare 1, 2 and 3"),
        ("valid_hours: 24", "valid_hours: 0", r"emergency\.valid_hours"),
        ("emergency:", "emergencies:", "Did you mean 'emergency'"),
        ("tiers:", "tiers: [", "YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_field_and_remedy(tmp_path: Path, old: str, new: str, words: str):
    file = tmp_path / "approval_rules.yaml"
    assert old in SHIPPED
    file.write_text(SHIPPED.replace(old, new, 1))
    with pytest.raises(InvalidDeclaration, match=words) as caught:
        load_approval_rules(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InvalidDeclaration, match="does not exist"):
        load_approval_rules(tmp_path / "approval_rules.yaml")
