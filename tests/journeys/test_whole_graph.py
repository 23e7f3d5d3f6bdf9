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
from mlops_assets.graph import build_defs
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.serving.answer import NoChampion
from mlops_assets.lifecycle.training.reproduce import reproduce
from mlops_assets.orchestration.refresh import Refresh
from mlops_assets.orchestration.staleness import is_by_hand
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
    by_itself = {key for key in graph.toposorted_asset_keys if not is_by_hand(graph.get(key))}
    assert {target.key for target in platform.first.made} == by_itself


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


def test_a_version_is_approved_promoted_asked_and_taken_back(platform: Platform):
    services = platform.services
    requests = {one.model: one for one in services.deployments.list()}
    assert set(requests) == set(services.catalogue.models)
    assert {one.state for one in requests.values()} == {State.IN_REVIEW}
    wanted = requests["signal_classifier"]
    (approval,) = [one for one in services.approvals.list() if one.subject == wanted.subject]
    assert approval.created_by == "dagster"
    maria, chris, quinn = _people(services)
    for decider in (chris, quinn):
        services.approvals.decide(approval.id, by=decider, verdict=Verdict.APPROVE, note="checked")
    services.deployments.promote(wanted.id, to=State.CHAMPION, by=maria, reason="the first one")
    row = services.snapshots.frame(services.snapshots.head("predictions/signal_classifier")).row(-1, named=True)
    said = services.predictions.predict("signal_classifier", row["symbol"], as_of=row["known_at"], by=quinn)
    assert said.main.version == 1
    assert said.main.outputs["probability"] == row["probability"]
    services.deployments.retire("signal_classifier", "staging", by=maria, reason="the end of the test")
    with pytest.raises(NoChampion):
        services.predictions.predict("signal_classifier", row["symbol"], as_of=row["known_at"], by=quinn)
    assert services.ledger.verify().is_intact


def test_every_model_is_reproduced_from_its_bars(platform: Platform):
    services = platform.services
    for model in services.catalogue.models:
        found = reproduce(
            services.models.latest(model),
            artifacts=services.models,
            snapshots=services.snapshots,
            views=services.catalogue.feature_views,
        )
        assert found.is_exact, found


def _people(services: ServiceFactory) -> list[Principal]:
    services.directory.bootstrap("local-operator")
    operator = services.directory.principal("local-operator")
    for name, role in (("maria", Role.MLOPS), ("chris", Role.COMPLIANCE), ("quinn", Role.QUANT)):
        services.directory.add(Declared(name=name, kind=Kind.PERSON, roles=frozenset({role})), by=operator)
    return [services.directory.principal(name) for name in ("maria", "chris", "quinn")]


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
