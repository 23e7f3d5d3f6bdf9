from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa
import yaml
from mlflow import MlflowClient

from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.lifecycle.plans import Range, Search
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.sweep import (
    NothingToSearch,
    Sweep,
    SweepFailed,
    SweepResult,
    run_sweep,
    sweep_of,
    valid_loss,
    with_parameters,
)
from mlops_assets.lifecycle.training.sweep_assets import sweep_definitions
from mlops_assets.lifecycle.training.sweep_report import as_declared
from mlops_assets.lifecycle.training.trials import FINISH, Trial, TrialLedger, TrialState, Values
from mlops_assets.orchestration.declared import key
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, trial
from tests.lifecycle.tracking_worlds import tracking_of, trials_of
from tests.lifecycle.worlds import DECLARATION, SERVICE, small_spec, training_set

SPACE = {
    "learning_rate": Range(low=0.01, high=0.3, log=True),
    "num_leaves": Range(low=2, high=64),
    "lambda_l2": Range(low=0.0, high=10.0),
}


def _bowl(values: Values) -> float:
    """A loss whose minimum is at a learning rate of 0.1 and 20 leaves."""
    return (values["learning_rate"] - 0.1) ** 2 + ((values["num_leaves"] - 20) / 64) ** 2


def _spec(trials: int = 16, **changes: object) -> ModelSpec:
    return replace(small_spec(), search=Search(trials=trials, space=SPACE), **changes)


@pytest.fixture
def published(snapshots: SnapshotStore) -> Snapshot:
    provenance = Provenance(code_version="1", inputs={"market/bars": "b" * 64})
    return snapshots.publish("datasets/signal_daily", training_set(count=1400), provenance=provenance, actor="t")


@pytest.fixture
def kept(tmp_path: Path, clock: FixedClock, database: Database) -> TrialLedger:
    return trials_of(tmp_path, clock)


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return tracking_of(tmp_path)


Run = Callable[..., SweepResult]


@pytest.fixture
def run(kept: TrialLedger, tracking: Tracking) -> Run:
    def call(sweep: Sweep, objective: Callable[[Values], float] = _bowl, **options) -> SweepResult:
        return run_sweep(sweep, objective, ledger=kept, tracking=tracking, by="ana", **options)

    return call


def _told(trials: list[Trial] | tuple[Trial, ...]) -> list[tuple[int, Values, float | None, str]]:
    return [(one.number, one.parameters, one.value, one.state) for one in trials]


def test_a_sweep_finds_the_bottom_of_a_bowl_better_than_its_random_start(run: Run, published: Snapshot):
    found = run(sweep_of(_spec(40), published))
    start = [one.value for one in found.trials[:10] if one.value is not None]
    assert found.best.value == min(one.value for one in found.trials if one.value is not None)
    assert found.best.value is not None
    assert found.best.value < min(start)
    assert abs(found.best.parameters["num_leaves"] - 20) < 8


def test_parameters_stay_in_their_ranges_and_are_whole_where_both_bounds_are(run: Run, published: Snapshot):
    for one in run(sweep_of(_spec(), published)).trials:
        for name, bounds in SPACE.items():
            assert bounds.low <= one.parameters[name] <= bounds.high
        assert type(one.parameters["num_leaves"]) is int
        assert type(one.parameters["lambda_l2"]) is float


@pytest.mark.parametrize(("killed_after", "is_in_the_trial"), [(1, True), (5, False), (12, True)])
def test_a_killed_sweep_ends_as_if_it_had_not_been(
    tmp_path: Path, clock: FixedClock, published: Snapshot, killed_after: int, is_in_the_trial: bool
):
    sweep = sweep_of(_spec(), published)
    results = []
    for name in ("whole", "killed"):
        home = tmp_path / name
        home.mkdir()
        stores = {"ledger": trials_of(home, clock), "tracking": tracking_of(home), "by": "ana"}
        asked: list[Values] = []

        def objective(values: Values, asked: list[Values] = asked, name: str = name) -> float:
            asked.append(values)
            if name == "killed" and is_in_the_trial and len(asked) == killed_after:
                raise KeyboardInterrupt
            return _bowl(values)

        def on_trial(one: Trial, name: str = name) -> None:
            if name == "killed" and not is_in_the_trial and one.number == killed_after:
                raise KeyboardInterrupt

        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                run_sweep(sweep, objective, **stores, on_trial=on_trial)
        results.append(run_sweep(sweep, objective, **stores))
        assert len(asked) == 16 + (name == "killed" and is_in_the_trial), "no finished trial is repeated"
    whole, killed = results
    assert _told(killed.trials) == _told(whole.trials)
    assert killed.study == whole.study


def test_more_trials_continue_the_study_and_the_same_again_tries_nothing(run: Run, published: Snapshot, kept):
    sweep, calls = sweep_of(_spec(), published), []

    def counted(values: Values) -> float:
        calls.append(values)
        return _bowl(values)

    whole = run(sweep, counted, trials=12)
    again = run(sweep, counted, trials=12)
    assert len(calls) == 12
    assert _told(again.trials) == _told(whole.trials)
    more = run(sweep, counted, trials=15)
    assert len(calls) == 15
    assert _told(more.trials[:12]) == _told(whole.trials)
    assert kept.count("signal_classifier") == 15


def test_the_study_is_another_for_another_declaration_training_set_space_or_seed(published: Snapshot):
    spec = _spec()
    other_space = replace(spec, search=Search(trials=16, space={**SPACE, "lambda_l2": Range(low=0.0, high=9.0)}))
    sweeps = [
        sweep_of(spec, published),
        sweep_of(spec, replace(published, fingerprint="f" * 64)),
        sweep_of(other_space, published),
        sweep_of(replace(spec, seed=1), published),
        sweep_of(with_parameters(spec, {"num_leaves": 3}), published),
    ]
    assert len({one.study for one in sweeps}) == len(sweeps)
    assert sweep_of(_spec(99), published).study == sweeps[0].study


def test_failed_trials_are_counted_told_and_not_repeated(run: Run, published: Snapshot, kept, tracking):
    def picky(values: Values) -> float:
        if values["num_leaves"] > 32:
            raise ValueError("too many leaves")
        return float("nan") if values["learning_rate"] > 0.2 else _bowl(values)

    found = run(sweep_of(_spec(), published), picky)
    failed = [one for one in found.trials if one.state is TrialState.FAILED]
    assert failed
    assert all(one.value is None for one in failed)
    assert kept.count("signal_classifier") == 16
    shown = MlflowClient(tracking_uri=tracking.uri).get_run(failed[0].run_id)
    assert shown.info.status == "FAILED"
    assert shown.data.tags["mlops.failure"] in ("ValueError: too many leaves", "no finite value")


def test_an_error_nobody_expects_ends_the_sweep_and_its_trial_is_counted(run: Run, published: Snapshot, kept):
    def broken(values: Values) -> float:
        raise AttributeError("a bug")

    with pytest.raises(AttributeError):
        run(sweep_of(_spec(), published), broken)
    (only,) = kept.list("signal_classifier")
    assert only.state is TrialState.FAILED


def test_a_sweep_without_a_value_says_so_and_is_in_the_ledger(run: Run, published: Snapshot, kept, database):
    def hopeless(values: Values) -> float:
        raise ArithmeticError

    with pytest.raises(SweepFailed, match="mlops models trials signal_classifier"):
        run(sweep_of(_spec(3), published), hopeless)
    assert kept.count("signal_classifier") == 3
    with database.read() as connection:
        (entry,) = connection.execute(sa.select(ledger_entry).where(ledger_entry.c.action == FINISH)).mappings()
    assert (entry["details"]["trials"], entry["details"]["failed"], entry["details"]["best"]) == (3, 3, None)


def test_the_end_is_one_ledger_entry_with_count_and_best(run: Run, published: Snapshot, database: Database):
    sweep = sweep_of(_spec(4), published)
    found = run(sweep)
    run(sweep)
    run(sweep, trials=5)
    with database.read() as connection:
        wanted = sa.select(ledger_entry).where(ledger_entry.c.action == FINISH).order_by(ledger_entry.c.seq)
        first, second = connection.execute(wanted).mappings()
    assert first["subject"] == f"sweeps/signal_classifier@{sweep.study[:12]}"
    assert first["details"]["trials"] == 4
    assert first["details"]["best"]["value"] == found.best.value
    assert (second["before"], second["details"]["trials"]) == (first["after"], 5)


def test_the_database_changes_and_forgets_no_trial(run: Run, published: Snapshot, database: Database):
    run(sweep_of(_spec(2), published))
    for statement in (sa.update(trial).values(value=0.0), sa.delete(trial)):
        with pytest.raises(sa.exc.IntegrityError, match="never changed"), database.begin() as connection:
            connection.execute(statement)


def test_two_processes_with_one_sweep_do_not_both_count_a_trial(run: Run, published: Snapshot):
    sweep = sweep_of(_spec(3), published)

    def meanwhile(values: Values) -> float:
        run(sweep, trials=1)
        return 1.0

    with pytest.raises(Conflict, match="another process runs the same sweep"):
        run(sweep, meanwhile)


def test_trials_are_nested_runs_of_the_sweeps_run(run: Run, published: Snapshot, tracking: Tracking):
    found = run(sweep_of(_spec(3), published), tags={"dagster.run_id": "d1"})
    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name("sweeps/signal_classifier")
    assert experiment is not None
    where = f"tags.`mlflow.parentRunId` = '{found.run_id}'"
    children = client.search_runs([experiment.experiment_id], filter_string=where, order_by=["start_time"])
    assert {one.info.run_id for one in children} == {one.run_id for one in found.trials}
    assert {one.info.status for one in children} == {"FINISHED"}
    for one in found.trials:
        shown = client.get_run(one.run_id).data
        assert shown.metrics["valid/loss"] == one.value
        assert {name: float(value) for name, value in shown.params.items()} == one.parameters
    parent = client.get_run(found.run_id)
    assert "mlflow.parentRunId" not in parent.data.tags
    assert parent.data.metrics["best/loss"] == found.best.value
    assert {one.dataset.name for one in parent.inputs.dataset_inputs} == {"datasets/signal_daily", "market/bars"}
    history = client.get_metric_history(found.run_id, "valid/loss")
    assert [(one.step, one.value) for one in history] == [(one.number, one.value) for one in found.trials]


def test_a_trial_that_was_kept_before_the_kill_has_its_run_finished_by_the_next(
    run: Run, published: Snapshot, tracking: Tracking
):
    sweep = sweep_of(_spec(3), published)
    found = run(sweep, trials=2)
    client = tracking.client()
    with sa.create_engine(tracking.uri).begin() as connection:  # as a kill before the end leaves it
        left = {"run": found.trials[-1].run_id}
        connection.execute(sa.text("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = :run"), left)
        connection.execute(sa.text("DELETE FROM latest_metrics WHERE run_uuid = :run"), left)
    run(sweep)
    closed = client.get_run(found.trials[-1].run_id)
    assert closed.info.status == "FINISHED"
    assert closed.data.metrics["valid/loss"] == found.trials[-1].value


def test_a_model_without_a_search_is_refused_with_what_to_write(published: Snapshot):
    with pytest.raises(NothingToSearch, match=r"search: \{trials.*one of rounds, "):
        sweep_of(replace(small_spec(), search=None), published)


def test_changing_every_test_row_changes_nothing(run: Run, published: Snapshot):
    spec, table = _spec(), training_set(count=1600, signal=0.5)
    assert "test" in table["fold"].to_pylist()
    frame = pl.DataFrame(pl.from_arrow(table))
    is_test = ~pl.col("fold").is_in(["train", "valid"])
    scrambled = frame.with_columns(
        *(pl.when(is_test).then(-7.5).otherwise(pl.col(name)).alias(name) for name in spec.features),
        pl.when(is_test).then(1 - pl.col("label")).otherwise(pl.col("label")).cast(pl.Int8).alias("label"),
        pl.when(is_test).then(9.9).otherwise(pl.col("forward_return")).alias("forward_return"),
    ).to_arrow(compat_level=pl.CompatLevel.oldest())
    values: Values = {"learning_rate": 0.1, "num_leaves": 7, "lambda_l2": 1.0}
    losses = [valid_loss(one, spec)(values) for one in (table, scrambled, _without_test(frame))]
    assert losses[0] == losses[1] == losses[2]


def _without_test(frame: pl.DataFrame) -> pa.Table:
    return frame.filter(pl.col("fold") != "test").to_arrow(compat_level=pl.CompatLevel.oldest())


def test_the_loss_is_the_log_loss_of_the_valid_fold():
    from sklearn.metrics import log_loss

    from mlops_assets.features.spec import Fold
    from mlops_assets.lifecycle.kinds.known import kind_of
    from mlops_assets.lifecycle.training.folds import fold_rows

    spec, table = _spec(), training_set(signal=1.0)
    values: Values = {"learning_rate": 0.2, "num_leaves": 5}
    tried = with_parameters(spec, values)
    assert tried.learner.params.num_leaves == 5
    train, valid = (fold_rows(table, spec.features, fold) for fold in (Fold.TRAIN, Fold.VALID))
    kind = kind_of("classifier")
    said = kind.predict(valid, kind.fit(train, valid, tried).content, tried)["probability"]
    assert valid_loss(table, spec)(values) == pytest.approx(log_loss(valid["label"], said), rel=1e-9)


def test_a_value_that_no_declaration_may_have_is_a_failed_trial(run: Run, published: Snapshot):
    spec = replace(small_spec(), search=Search(trials=3, space={"learning_rate": Range(low=1.5, high=2.0)}))
    with pytest.raises(SweepFailed):
        run(sweep_of(spec, published), valid_loss(training_set(), spec))


@pytest.mark.parametrize("bound", ["low", "high"])
def test_what_the_catalogue_searches_may_be_declared(bound: str):
    searched = [one for one in load_catalogue(DECLARATION.parent.parent).models.values() if one.search is not None]
    assert searched
    for spec in searched:
        assert spec.search is not None
        with_parameters(spec, {name: getattr(bounds, bound) for name, bounds in spec.search.space.items()})


def test_the_best_is_shown_as_yaml_that_goes_into_the_declaration():
    assert yaml.safe_load(as_declared({"learning_rate": 0.05, "num_leaves": 7})) == {
        "learner": {"params": {"learning_rate": 0.05, "num_leaves": 7}}
    }


def test_the_asset_shows_trials_best_and_plot_and_starts_by_nobody_but_people(
    snapshots: SnapshotStore, published: Snapshot, kept: TrialLedger, tracking: Tracking
):
    spec = _spec(3)
    (asset,) = sweep_definitions(spec).assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    assert set(asset.automation_conditions_by_key.values()) <= {None}
    assert sweep_definitions(replace(spec, search=None)).assets == []
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [asset],
            instance=instance,
            resources={"snapshots": snapshots, "tracking": tracking, "trials": kept, "actor": SERVICE},
            run_config={"ops": {"sweeps__signal_classifier": {"config": {"trials": 2}}}},
        )
        (event,) = done.asset_materializations_for_node("sweeps__signal_classifier")
    assert event.asset_key == key("sweeps/signal_classifier")
    assert event.metadata["trials"].value == 2
    best = min(kept.list("signal_classifier"), key=lambda one: one.value or 0)
    block = str(event.metadata["paste_into_the_declaration"].value).removeprefix("```yaml\n").removesuffix("```")
    assert yaml.safe_load(block)["learner"]["params"] == best.parameters
    assert str(event.metadata["loss_by_trial"].value).startswith("![plot](data:image/png")
    shown = tracking.client().get_run(str(event.metadata["mlflow_run_id"].value))
    assert shown.data.tags["dagster.run_id"] == done.run_id
