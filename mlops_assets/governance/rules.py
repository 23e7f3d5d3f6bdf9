"""What an approval needs, by risk tier: how many people, one of whom in which role, how soon, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from mlops_assets.governance.evidence import Part, PartKind
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Role
from mlops_assets.kernel.strict_yaml import read_file

TIERS = (1, 2, 3)
ROLLBACK_REVIEW = 0
"""The number under which the rule of rollbacks is kept beside those of the tiers; no model is of that tier."""
NEVER_DECIDE = frozenset({Role.SERVICE, Role.VIEWER})
_NO_OTHER_KEYS = ConfigDict(extra="forbid")
_A_YEAR_OF_HOURS, _TEN_YEARS = 24 * 366, 3660


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """What a request of one tier needs. `required_role`: one of those who approve decides in it."""

    __pydantic_config__ = _NO_OTHER_KEYS

    tier: Annotated[int, Field(ge=1, le=3)]
    quorum: Annotated[int, Field(ge=1, le=10)]
    required_role: Role | None
    decide_within_hours: Annotated[int, Field(ge=1, le=_A_YEAR_OF_HOURS)]
    expires_after_days: Annotated[int, Field(ge=1, le=_TEN_YEARS)]
    valid_days: Annotated[int, Field(ge=1, le=_TEN_YEARS)]

    def __post_init__(self) -> None:
        if self.required_role in NEVER_DECIDE:
            raise ValueError(f"a {self.required_role} never decides; name another role or null")
        if self.decide_within > self.expires_after:
            raise ValueError("decide_within_hours reaches beyond expires_after_days")

    @property
    def decide_within(self) -> timedelta:
        return timedelta(hours=self.decide_within_hours)

    @property
    def expires_after(self) -> timedelta:
        return timedelta(days=self.expires_after_days)

    @property
    def name(self) -> str:
        return "rollback review" if self.tier == ROLLBACK_REVIEW else f"tier {self.tier}"

    @property
    def words(self) -> str:
        role = "" if self.required_role is None else f", one of them {self.required_role}"
        return f"{self.name}: {self.quorum} to approve{role}, valid {self.valid_days} days"

    def as_part(self) -> Part:
        """Return the rule as a part of the evidence: an approval under one rule is none under another."""
        content = {
            "tier": self.tier,
            "quorum": self.quorum,
            "required_role": self.required_role,
            "valid_days": self.valid_days,
        }
        return Part(name="tier_rule", kind=PartKind.POLICY, fingerprint=fingerprint(content), note=self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReview:
    """What the review of a rollback needs: it has happened already, and somebody else looks at it afterwards."""

    __pydantic_config__ = _NO_OTHER_KEYS

    quorum: Annotated[int, Field(ge=1, le=10)]
    decide_within_hours: Annotated[int, Field(ge=1, le=_A_YEAR_OF_HOURS)]
    expires_after_days: Annotated[int, Field(ge=1, le=_TEN_YEARS)]

    def __post_init__(self) -> None:
        self.as_rule()  # refuses what a rule of a tier refuses

    def as_rule(self) -> TierRule:
        return TierRule(
            tier=ROLLBACK_REVIEW,
            quorum=self.quorum,
            required_role=None,
            decide_within_hours=self.decide_within_hours,
            expires_after_days=self.expires_after_days,
            valid_days=_TEN_YEARS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """How long an override by two people lasts."""

    __pydantic_config__ = _NO_OTHER_KEYS

    valid_hours: Annotated[int, Field(ge=1, le=24 * 14)]

    @property
    def lasts(self) -> timedelta:
        return timedelta(hours=self.valid_hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRules:
    """The rules of every tier, that of rollbacks, and those of emergencies."""

    tiers: Mapping[int, TierRule]
    rollback_review: TierRule
    emergency: Emergency

    def of(self, tier: int) -> TierRule:
        """Return the rule of a tier, or of `ROLLBACK_REVIEW`.

        Raises:
            ValueError: if there is no such tier.
        """
        if tier == ROLLBACK_REVIEW:
            return self.rollback_review
        if tier not in self.tiers:
            raise ValueError(f"there is no tier {tier}; tiers are {', '.join(map(str, self.tiers))}")
        return self.tiers[tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    __pydantic_config__ = _NO_OTHER_KEYS

    tiers: list[TierRule]
    rollback_review: RollbackReview
    emergency: Emergency


def load_approval_rules(file: Path) -> ApprovalRules:
    """Read the rules of every tier.

    Raises:
        InvalidDeclaration: naming the file, the field and the remedy.
    """
    if not file.is_file():
        raise InvalidDeclaration(
            file=file, field="(file)", problem="it does not exist", remedy="Say there what each tier needs."
        )
    content = parse_declaration(_Content, read_file(file, remedy="Restore it from Git."), file)
    declared = sorted(rule.tier for rule in content.tiers)
    if declared != list(TIERS):
        raise InvalidDeclaration(
            file=file,
            field="tiers",
            problem=f"it declares the tiers {', '.join(map(str, declared)) or 'none'}",
            remedy="Declare 1, 2 and 3, each once.",
        )
    return ApprovalRules(
        tiers={rule.tier: rule for rule in sorted(content.tiers, key=lambda one: one.tier)},
        rollback_review=content.rollback_review.as_rule(),
        emergency=content.emergency,
    )
