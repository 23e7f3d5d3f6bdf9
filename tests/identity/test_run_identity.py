"""A Dagster run acts as who launched it, and says so in a tag that nobody can make up or use elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from mlops_assets.identity.run_identity import AUDIENCE, TAG, InvalidRunIdentity, RunIdentity
from mlops_assets.identity.sign_in import SignIn, Unauthenticated
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.orchestration.refresh import materialise, materialise_stale
from mlops_assets.orchestration.resources import of_run
from mlops_assets.storage.keys import KeyFolder, SigningKey
from tests.identity.house import START, House

NOW = int(START.timestamp())


@dataclass(frozen=True)
class Run:
    run_id: str = "run-1"
    tags: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def runs(house: House, keys: KeyFolder) -> RunIdentity:
    return RunIdentity(keys, house.directory, house.access, house.clock)


def launched(runs: RunIdentity, by: Principal, run_id: str = "run-1") -> Run:
    return Run(run_id=run_id, tags=runs.tags(by, run_id))


def test_a_run_acts_as_who_launched_it_with_the_roles_of_now(house: House, runs: RunIdentity):
    run = launched(runs, house.add("kim", Role.QUANT))
    house.directory.grant("kim", [Role.MLOPS], by=house.root)
    kim = runs.principal_of(run)
    assert (kim.name, kim.roles, kim.credential) == ("kim", {Role.QUANT, Role.MLOPS}, "run:run-1")


def test_the_scopes_of_the_launching_token_bind_its_run(house: House, runs: RunIdentity):
    house.add("kim", Role.QUANT)
    narrow = Principal(name="kim", roles=frozenset({Role.QUANT}), scopes=frozenset({"run.*"}))
    assert runs.principal_of(launched(runs, narrow)).scopes == {"run.*"}


@pytest.mark.parametrize("run", [None, Run(), Run(tags={"dagster/schedule_name": "nightly"})])
def test_what_nobody_launched_by_name_acts_as_dagster(runs: RunIdentity, run: Run | None):
    assert runs.principal_of(run).name == "dagster"


def test_dagster_must_be_there_active_and_allowed(house: House, runs: RunIdentity):
    house.directory.take("dagster", [Role.SERVICE], by=house.root)
    with pytest.raises(Forbidden, match=r"run\.launch"):
        runs.principal_of(Run())
    house.directory.deactivate("dagster", by=house.root)
    with pytest.raises(Forbidden, match="deactivated"):
        runs.principal_of(None)


def test_who_may_not_launch_gets_no_tag(house: House, runs: RunIdentity):
    with pytest.raises(Forbidden, match=r"run\.launch"):
        runs.tags(house.add("vic", Role.VIEWER), "run-1")


def test_a_tag_ends_with_the_rights_of_who_launched(house: House, runs: RunIdentity):
    run = launched(runs, house.add("kim", Role.QUANT))
    house.directory.take("kim", [Role.QUANT], by=house.root)
    with pytest.raises(Forbidden, match=r"run\.launch"):
        runs.principal_of(run)
    house.directory.deactivate("kim", by=house.root)
    with pytest.raises(Forbidden, match="deactivated"):
        runs.principal_of(run)


def test_a_tag_is_good_for_its_own_run_alone(house: House, runs: RunIdentity):
    run = launched(runs, house.root)
    with pytest.raises(InvalidRunIdentity, match=r"run-2.*remove it"):
        runs.principal_of(Run(run_id="run-2", tags=run.tags))


def test_a_tag_ends_after_a_day(house: House, runs: RunIdentity):
    run = launched(runs, house.root)
    house.clock.move(hours=23)
    assert runs.principal_of(run).name == "operator"
    house.clock.move(hours=1)
    with pytest.raises(InvalidRunIdentity, match="expired"):
        runs.principal_of(run)


def test_runs_of_before_a_rotation_go_on(house: House, runs: RunIdentity, keys: KeyFolder):
    run = launched(runs, house.root)
    keys.rotate("runs")
    assert runs.principal_of(run).name == "operator"
    assert runs.principal_of(launched(runs, house.root)).name == "operator"


def _signed(key: SigningKey, *, kid: str | None = None, **changes: Any) -> str:
    good = {"iss": AUDIENCE, "aud": AUDIENCE, "sub": "operator", "run": "run-1", "scopes": ["*"], "exp": NOW + 60}
    claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
    signer = OKPKey.import_key(key.private_pem)
    return jwt.encode({"alg": "Ed25519", "kid": kid or key.key_id}, claims, signer, algorithms=["Ed25519"])


def test_a_tag_that_we_did_not_sign_for_this_proves_nothing(runs: RunIdentity, keys: KeyFolder):
    ours, strange = keys.signing_key("runs"), SigningKey(Ed25519PrivateKey.generate())
    assert runs.principal_of(Run(tags={TAG: _signed(ours)})).name == "operator"
    forged = [
        "",
        "operator",
        "a.b.c",
        _signed(strange),
        _signed(strange, kid=ours.key_id),
        _signed(keys.signing_key("ledger")),
        _signed(ours)[:-4] + "AAAA",
        *(_signed(ours, **{name: None}) for name in ("iss", "aud", "sub", "run", "scopes", "exp")),
        _signed(ours, aud="mlops"),
        _signed(ours, run="run-2"),
    ]
    for tag in forged:
        with pytest.raises(InvalidRunIdentity, match="run-1"):
            runs.principal_of(Run(tags={TAG: tag}))


def test_a_tag_opens_no_other_door(house: House, runs: RunIdentity):
    tag = runs.tags(house.root, "run-1")[TAG]
    with pytest.raises(Unauthenticated):
        SignIn(house.tokens, house.directory).principal_of(tag)


def graph(runs: RunIdentity, acted: list[str]) -> dg.Definitions:
    @dg.asset
    def report(actor: dg.ResourceParam[Principal]) -> None:
        acted.append(actor.name)

    @dg.sensor(asset_selection=[report])
    def watch(actor: dg.ResourceParam[Principal]) -> dg.SkipReason:
        return dg.SkipReason(actor.name)

    return dg.Definitions(assets=[report], sensors=[watch], resources={"actor": resource(runs)})


def resource(runs: RunIdentity) -> dg.ResourceDefinition:
    return of_run(runs.principal_of, "The principal that a run acts as.")


def test_in_dagster_a_launched_run_acts_as_the_launcher_and_every_other_as_dagster(house: House, runs: RunIdentity):
    kim = house.add("kim", Role.QUANT)
    acted: list[str] = []
    definitions = graph(runs, acted)
    with dg.DagsterInstance.ephemeral() as instance:
        tags_of = lambda run_id: runs.tags(kim, run_id)  # noqa: E731
        refreshed = materialise_stale(definitions, instance, lambda progress: None, tags_of=tags_of)
        again = materialise(definitions, instance, [dg.AssetKey("report")], lambda progress: None)
        assert (refreshed.failures, again.failures) == ({}, {})
        assert acted == ["kim", "dagster"]
        context = dg.build_sensor_context(
            instance=instance, definitions=definitions, resources={"actor": resource(runs)}
        )
        skipped = definitions.resolve_sensor_def("watch").evaluate_tick(context)
        assert skipped.skip_message == "dagster"


def test_in_dagster_a_run_with_anothers_tag_fails_and_says_why(house: House, runs: RunIdentity):
    acted: list[str] = []
    definitions = graph(runs, acted)
    stolen = runs.tags(house.root, "another-run")
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialise(
            definitions, instance, [dg.AssetKey("report")], lambda progress: None, tags_of=lambda run_id: stolen
        )
        (reason,) = done.failures.values()
    assert "does not prove who launched it" in reason
    assert acted == []
