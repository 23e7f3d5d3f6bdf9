"""Who may do what: the policy table of roles and actions, which is one readable file of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ConfigDict

from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import Forbidden, InvalidDeclaration, UnknownReference
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.kernel.strict_yaml import read_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRule:
    """The roles that may do something, and what it means in words."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    roles: frozenset[Role]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Role by action. An action that is not listed is allowed to nobody, and asking for it is a mistake of ours."""

    actions: Mapping[str, ActionRule]
    file: str

    def allows(self, principal: Principal, action: str) -> bool:
        """Tell whether the roles allow it and the credential's scopes include it."""
        return principal.has_any(self._rule(action).roles) and is_covered(action, principal.scopes)

    def require(self, principal: Principal, action: str) -> Principal:
        """Return the principal if it may.

        Raises:
            Forbidden: saying whose roles may, what the caller has and who can change it.
        """
        rule = self._rule(action)
        if not principal.has_any(rule.roles):
            raise Forbidden(
                f"{principal.name} may not do {action} ({rule.description.rstrip('.').lower()}): it takes one of the "
                f"roles {_listed(rule.roles)}, and {principal.name} has {_listed(principal.roles) or 'none'}. "
                f"An admin can grant a role: `mlops principals grant {principal.name} ROLE`."
            )
        if not is_covered(action, principal.scopes):
            raise Forbidden(
                f"The credential of {principal.name} does not include {action}: its scopes are "
                f"{_listed(principal.scopes) or 'none'}. Use a token with the scope {action}; "
                f"`mlops tokens issue {principal.name} --scope {action}` makes one."
            )
        return principal

    def allowed_to(self, principal: Principal) -> tuple[str, ...]:
        """Name the actions that the principal may do."""
        return tuple(action for action in self.actions if self.allows(principal, action))

    def known_scopes(self, scopes: Iterable[str], *, asked_by: str) -> frozenset[str]:
        """Return the scopes if each one includes some action.

        Raises:
            UnknownReference: naming the first that includes none, and near misses.
        """
        found = frozenset(scopes)
        for scope in sorted(found):
            if not any(is_covered(action, (scope,)) for action in self.actions):
                known = {"*", *self.actions, *(f"{action.partition('.')[0]}.*" for action in self.actions)}
                raise UnknownReference(kind="scope", name=scope, known=known, asked_by=asked_by, field="scope")
        return found

    def _rule(self, action: str) -> ActionRule:
        if action not in self.actions:
            raise ValueError(f"action {action!r} is not in {self.file}: add it there with the roles that may do it")
        return self.actions[action]


def is_covered(wanted: str, scopes: Iterable[str]) -> bool:
    """Tell whether an action, or everything that a narrower scope includes, is within one of `scopes`.

    `*` includes everything, `approval.*` every action of approvals, `approval.decide` that action alone.
    """
    return any(
        scope in ("*", wanted) or (scope.endswith(".*") and wanted.startswith(scope.removesuffix("*")))
        for scope in scopes
    )


def load_access(file: Path) -> AccessPolicy:
    """Read the policy table.

    Raises:
        InvalidDeclaration: naming file, field and remedy.
    """
    content = read_file(file, remedy="Restore it from Git.")
    return AccessPolicy(
        actions={action: _parsed(action, rule, file) for action, rule in content.items()}, file=str(file)
    )


def _parsed(action: str, content: object, file: Path) -> ActionRule:
    parts = action.split(".")
    if len(parts) != 2 or not all(part.isidentifier() and part.islower() for part in parts):
        raise InvalidDeclaration(
            file=file, field=action, problem="it is no action", remedy="Write `noun.verb` in lower case."
        )
    if not isinstance(content, Mapping):
        raise InvalidDeclaration(
            file=file, field=action, problem="it says nothing", remedy="Write `roles` and a `description` below it."
        )
    try:
        rule = parse_declaration(ActionRule, cast("Mapping[str, object]", content), file)
    except InvalidDeclaration as error:
        raise InvalidDeclaration(
            file=file, field=f"{action}: {error.field}", problem=error.problem, remedy=error.remedy
        ) from error
    if not rule.roles:
        raise InvalidDeclaration(
            file=file, field=f"{action}: roles", problem="it is empty", remedy="Name a role, or remove the action."
        )
    return rule


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
