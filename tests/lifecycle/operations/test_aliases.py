"""MLflow's alias follows who serves, and comes back when somebody moves it with MLflow's own client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mlops_assets.alerts.alert import Severity
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.operations.aliases import Aliases, Correction, alias_of
from mlops_assets.lifecycle.tracking.tracking import Tracking, TrackingUnavailable
from tests.lifecycle.serving_worlds import ENVIRONMENT, MODEL, register, serve, slot
from tests.lifecycle.worlds import Stores, stores

ALIAS = alias_of(ENVIRONMENT)


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    made = stores(tmp_path)
    for number in (1, 2):
        register(made, number)
    return made


def aliases(kept: Stores, tracking: Tracking | None = None) -> Aliases:
    return Aliases(
        kept.database,
        kept.ledger,
        tracking or kept.tracking,
        kept.models,
        ServingStore(kept.database),
        kept.alerts,
    )


def reconcile(kept: Stores) -> list[Correction]:
    return aliases(kept).reconcile(by="dagster")


def in_mlflow(kept: Stores, model: str = MODEL) -> dict[str, str]:
    """The aliases, by the platform's version that each names."""
    client = kept.tracking.client()
    named = client.get_registered_model(model).aliases
    return {alias: client.get_model_version(model, str(one)).tags["mlops.version"] for alias, one in named.items()}


def test_an_alias_follows_promotion_rollback_and_retirement_without_an_incident(kept: Stores):
    for champion, expected in ((1, {ALIAS: "1"}), (2, {ALIAS: "2"}), (1, {ALIAS: "1"}), (None, {})):
        serve(kept, None if champion is None else slot(champion))
        (correction,) = reconcile(kept)
        assert not correction.is_incident
        assert in_mlflow(kept) == expected
        assert reconcile(kept) == []
    assert [entry.details["epoch"] for entry in kept.ledger.entries(action="alias.project")] == [1, 2, 3, 4]
    assert kept.alerts.list() == []
    assert kept.ledger.verify().is_intact


def test_one_alias_is_projected_at_once(kept: Stores):
    now = serve(kept, slot(2))
    assert aliases(kept).project(now, by="ben") is not None
    assert in_mlflow(kept) == {ALIAS: "2"}
    assert aliases(kept).project(now, by="ben") is None


def test_a_projection_that_comes_late_does_not_undo_a_later_move(kept: Stores):
    late = serve(kept, slot(1))
    serve(kept, slot(2))
    aliases(kept).project(late, by="ben")
    assert in_mlflow(kept) == {ALIAS: "2"}


def test_an_alias_that_was_moved_comes_back_and_is_an_incident(kept: Stores):
    serve(kept, slot(1))
    serve(kept, slot(2))
    reconcile(kept)
    kept.tracking.client().set_registered_model_alias(MODEL, ALIAS, "1")
    (correction,) = reconcile(kept)
    assert (correction.is_incident, correction.found, correction.wanted) == (True, "1", "2")
    assert in_mlflow(kept) == {ALIAS: "2"}
    (entry,) = kept.ledger.entries(action="alias.revert")
    assert entry.details == {"alias": ALIAS, "epoch": 2, "found": "1", "mlflow_version": "2", "was_deleted": False}
    (told,) = kept.alerts.list()
    assert (told.alert.kind, told.alert.severity) == ("alias_moved", Severity.HIGH)
    assert "champion_staging of signal_classifier named version 1, now version 2" in told.alert.summary
    assert reconcile(kept) == []


def test_an_alias_that_was_removed_comes_back_and_is_an_incident(kept: Stores):
    serve(kept, slot(2))
    reconcile(kept)
    kept.tracking.client().delete_registered_model_alias(MODEL, ALIAS)
    (correction,) = reconcile(kept)
    assert (correction.is_incident, correction.found) == (True, None)
    assert in_mlflow(kept) == {ALIAS: "2"}


def test_an_alias_moved_while_the_champion_changed_is_still_an_incident(kept: Stores):
    register(kept, 3)
    serve(kept, slot(1))
    reconcile(kept)
    kept.tracking.client().set_registered_model_alias(MODEL, ALIAS, "3")
    serve(kept, slot(2))
    (correction,) = reconcile(kept)
    assert (correction.is_incident, correction.found, correction.wanted) == (True, "3", "2")


def test_an_alias_whose_writer_died_before_its_entry_is_no_incident_at_the_next_move(kept: Stores):
    serve(kept, slot(1))
    reconcile(kept)
    serve(kept, slot(2))
    kept.tracking.client().set_registered_model_alias(MODEL, ALIAS, "2")
    assert [reconcile(kept), reconcile(kept)] == [[], []]
    serve(kept, slot(1))
    (correction,) = reconcile(kept)
    assert not correction.is_incident
    assert [entry.details["epoch"] for entry in kept.ledger.entries(action="alias.*")] == [1, 2, 3]
    assert kept.alerts.list() == []


def test_a_champion_deleted_in_mlflow_is_made_again(kept: Stores):
    serve(kept, slot(2))
    reconcile(kept)
    kept.tracking.client().delete_model_version(MODEL, "2")
    assert in_mlflow(kept) == {}
    (correction,) = reconcile(kept)
    assert correction.is_incident
    assert correction.was_deleted
    assert in_mlflow(kept) == {ALIAS: "2"}
    assert "made again" in kept.alerts.list()[0].alert.summary
    assert reconcile(kept) == []


def test_a_whole_model_deleted_in_mlflow_is_made_again_under_numbers_that_mean_something_else(kept: Stores):
    serve(kept, slot(2))
    serve(kept, slot(1), environment="production")
    reconcile(kept)
    kept.tracking.client().delete_registered_model(MODEL)
    assert {one.environment for one in reconcile(kept)} == {"staging", "production"}
    assert in_mlflow(kept) == {ALIAS: "2", alias_of("production"): "1"}
    assert reconcile(kept) == []


def test_a_foreign_champion_where_nobody_serves_is_removed(kept: Stores):
    client = kept.tracking.client()
    client.set_registered_model_alias(MODEL, alias_of("production"), "1")
    client.set_registered_model_alias(MODEL, "of_my_notebook", "1")
    (correction,) = reconcile(kept)
    assert (correction.is_incident, correction.environment, correction.wanted) == (True, "production", None)
    assert in_mlflow(kept) == {"of_my_notebook": "1"}


def test_models_that_the_platform_does_not_know_are_left_alone(kept: Stores):
    client = kept.tracking.client()
    client.create_registered_model("somebody_elses")
    experiment = client.create_experiment("theirs")
    run = client.create_run(experiment).info.run_id
    client.create_model_version("somebody_elses", source=f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("somebody_elses", "champion_staging", "1")
    assert reconcile(kept) == []


def test_two_reconcilers_at_once_put_it_right_and_tell_of_it_once(kept: Stores):
    serve(kept, slot(2))
    reconcile(kept)
    kept.tracking.client().delete_model_version(MODEL, "2")
    barrier = Barrier(4)

    def run(_: int) -> list[Correction]:
        own = aliases(kept)
        barrier.wait()
        return own.reconcile(by="dagster")

    with ThreadPoolExecutor(4) as pool:
        corrections = [one for found in pool.map(run, range(4)) for one in found]
    assert len(corrections) == 1
    assert len(list(kept.ledger.entries(action="alias.revert"))) == 1
    assert in_mlflow(kept) == {ALIAS: "2"}
    versions = kept.tracking.client().search_model_versions(f"name = '{MODEL}'")
    assert sorted(one.tags["mlops.version"] for one in versions) == ["1", "2"]


def test_when_mlflow_is_down_nothing_changes_and_the_next_look_makes_up_for_it(kept: Stores, tmp_path: Path):
    serve(kept, slot(2))
    down = Tracking(kept.database, uri="http://127.0.0.1:9", artifacts=tmp_path)
    entries = len(list(kept.ledger.entries()))
    with pytest.raises(TrackingUnavailable, match="MLflow does not answer"):
        aliases(kept, down).reconcile(by="dagster")
    assert len(list(kept.ledger.entries())) == entries
    assert len(reconcile(kept)) == 1
    assert in_mlflow(kept) == {ALIAS: "2"}
