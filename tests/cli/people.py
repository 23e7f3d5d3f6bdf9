"""Acting as somebody on the command line: a principal of the directory and a token in the environment."""

from __future__ import annotations

import pytest

from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.identity import Role
from mlops_assets.services import ServiceFactory


def sign_in_as(services: ServiceFactory, monkeypatch: pytest.MonkeyPatch, name: str, *roles: Role) -> None:
    """Let the commands that follow act as `name`, who is added with these roles if unknown."""
    directory = services.directory
    directory.bootstrap("local-operator")
    if directory.find(name) is None:
        declared = Declared(name=name, kind=Kind.PERSON, roles=frozenset(roles))
        directory.add(declared, by=directory.principal("local-operator"))
    monkeypatch.setenv("MLOPS_TOKEN", services.tokens.issue(name, by=directory.principal("local-operator")).bearer)
