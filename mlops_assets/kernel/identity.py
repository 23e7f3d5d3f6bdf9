"""Who acts: principals and their roles. Nothing acts as nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """What a principal is trusted with."""

    DATA_ENGINEER = "data_engineer"
    QUANT = "quant"
    MLOPS = "mlops"
    COMPLIANCE = "compliance"
    ADMIN = "admin"
    SERVICE = "service"
    VIEWER = "viewer"


EVERY_SCOPE = frozenset({"*"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A person or a service that can be named in the ledger.

    `scopes` narrows what the roles allow to some actions (`approval.*`, `platform.read`); `credential` says how they
    proved who they are (`token:3f9a…`, `oidc:<issuer>`, `run:<id>`) and never holds a secret. A service is one whatever
    its roles are.
    """

    name: str
    roles: frozenset[Role]
    scopes: frozenset[str] = EVERY_SCOPE
    credential: str = ""
    is_service: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a principal needs a name")

    def has_any(self, roles: Collection[Role]) -> bool:
        return bool(self.roles & frozenset(roles))


class Gate(Protocol):
    """Makes, for an action, the dependency that lets only those through who may; routes are given one.

    It returns the caller: `decider = Depends(allowed("approval.decide"))`, then `caller: Principal = decider`.
    """

    def __call__(self, action: str) -> Callable[..., Principal]: ...
