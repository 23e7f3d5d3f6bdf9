"""The whole graph on the bundled history: complete, idempotent, deterministic, and every number traceable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.transitions import State
from mlops_assets.graph import build_defs
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.identity import Role
from mlops_assets.orchestration.refresh import Refresh
from mlops_assets.services import ServiceFactory
from tests.journeys.run_graph import fingerprints, refresh, services_of

pytestmark = pytest.mark.slow

ANOTHER_MACHINE = {
    "PYTHONHASHSEED": "12345",
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}
"""What makes a process here add and take logarithms as on an old processor, without AVX-512, and on one thread.

numpy only warns where it does not know the feature, or the processor lacks it.
"""


@dataclass(frozen=True)
class Platform:
    services: ServiceFactory
    instance: dg.DagsterInstance
    first: Refresh


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    services = services_of(tmp_path_factory.mktemp("home"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(services=services, instance=instance, first=refresh(services, instance))


def test_every_asset_is_made_and_every_blocking_check_passes(platform: Platform):
    assert platform.first.failures == {}
    graph = build_defs(platform.services).resolve_asset_graph()
    assert {target.key for target in platform.first.made} == set(graph.toposorted_asset_keys)


def test_a_second_run_changes_nothing(platform: Platform):
    before = platform.services.ledger.verify()
    again = refresh(platform.services, platform.instance)
    assert again.made == ()
    assert platform.services.ledger.verify() == before


def test_materialising_again_by_hand_makes_no_new_version(platform: Platform):
    before = fingerprints(platform.services)
    versions = {head.id for head in platform.services.snapshots.heads()}
    definitions = build_defs(platform.services)
    key = dg.AssetKey(["features", "momentum"])
    job = definitions.resolve_implicit_job_def_def_for_assets([key])
    assert job is not None
    assert job.execute_in_process(instance=platform.instance, asset_selection=[key]).success
    assert fingerprints(platform.services) == before
    assert {head.id for head in platform.services.snapshots.heads()} == versions


def test_another_process_and_directory_and_thread_count_give_the_same_fingerprints(platform: Platform, tmp_path: Path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.journeys.run_graph", str(tmp_path)],
        env={**os.environ, **ANOTHER_MACHINE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert json.loads(run.stdout.splitlines()[-1]) == fingerprints(platform.services)


def test_the_ledger_holds_and_names_every_version(platform: Platform):
    ledger = platform.services.ledger
    assert ledger.verify().is_intact
    published = {entry.subject for entry in ledger.entries(action="snapshot.publish")}
    assert {head.id for head in platform.services.snapshots.heads()} <= published
    first_people = {"principal.add", "token.issue"}  # the operator and the service, made in an empty database
    assert {entry.actor for entry in ledger.entries() if entry.action not in first_people} == {"dagster"}


def test_every_dataset_a_snapshot_was_made_from_has_that_version(platform: Platform):
    snapshots = platform.services.snapshots
    versions = {
        head.dataset: {one.fingerprint for one in snapshots.history(head.dataset)} for head in snapshots.heads()
    }
    followed = 0
    for head in snapshots.heads():
        for name, value in head.inputs.items():
            if name in versions:
                assert value in versions[name], f"{head.id} was made from {name} {value}, which is no version of it"
                followed += 1
    assert followed >= len(versions) / 2


def test_a_deployment_is_asked_for_and_two_people_approve_it(platform: Platform):
    (request,) = platform.services.deployments.list()
    assert request.status == "pending"
    (approval,) = [one for one in platform.services.approvals.list() if one.subject.startswith("deployments/")]
    assert (approval.created_by, approval.state) == ("dagster", State.SUBMITTED)
    directory = platform.services.directory
    directory.bootstrap("local-operator")
    for name in ("ana", "ben"):
        declared = Declared(name=name, kind=Kind.PERSON, roles=frozenset({Role.COMPLIANCE}))
        directory.add(declared, by=directory.principal("local-operator"))
    states = [
        platform.services.approvals.decide(
            approval.id, by=directory.principal(name), verdict=Verdict.APPROVE, note="checked"
        ).state
        for name in ("ana", "ben")
    ]
    assert states[-1] is State.APPROVED


def test_duckdb_serves_the_published_rows(platform: Platform):
    head = platform.services.snapshots.head("features/momentum")
    with platform.services.duckdb.get_connection() as connection:
        latest, pinned = (
            connection.execute(f"SELECT count(*), max(date) FROM features.{name}").fetchone()
            for name in ("momentum", "momentum_v1")
        )
    assert latest == pinned
    assert latest is not None
    assert latest[0] == head.row_count
