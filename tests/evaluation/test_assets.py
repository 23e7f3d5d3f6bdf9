import subprocess
import sys

import dagster as dg
import polars as pl
import pytest

from mlops_assets.evaluation.assets import evaluation_definitions, explanation_definitions
from mlops_assets.evaluation.results import GATES_KEPT
from mlops_assets.governance.transitions import State
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.evaluation.stores import ACTOR, STRATEGIES, House, build_house, fill, shipped_model, shipped_scenario
from tests.evaluation.worlds import scenario

SCENARIO, MODEL = shipped_scenario(), shipped_model()
MODELS = {MODEL.name: MODEL}


def definitions() -> dg.Definitions:
    return dg.Definitions.merge(explanation_definitions(MODEL), evaluation_definitions(SCENARIO, STRATEGIES, MODELS))


def run(house: House, *only: str) -> dg.ExecuteInProcessResult:
    built = definitions()
    selection = [dg.AssetKey(name.split("/")) for name in only] or None
    return dg.materialize(
        [*built.assets, *built.asset_checks],
        resources=house.resources(),
        selection=selection,
        raise_on_error=False,
    )


def checks_of(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {
        (one.asset_key.to_user_string(), one.check_name): one.passed for one in result.get_asset_check_evaluations()
    }


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict:
    events = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    return {label: value.value for label, value in events[name].items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[House, dg.ExecuteInProcessResult]:
    house = build_house(tmp_path_factory.mktemp("house"))
    fill(house)
    return house, run(house)


def test_the_whole_room_materialises_with_every_check_passed(world):
    house, result = world
    assert result.success
    checks = checks_of(result)
    assert len(checks) == 4 + 3 + 3 + 2  # three without a model, one with, the report's gates, additivity
    assert all(passed for (_, name), passed in checks.items() if name != GATES_KEPT)
    assert set(house.reports.kpis(house.reports.latest("covid_crash").sha256)) >= {
        "covid_crash.signal_ml.sharpe_ratio",
        "covid_crash.sma_crossover.alpha",
        "covid_crash.buy_and_hold.total_return",
    }


def test_the_snapshots_are_those_of_the_contract(world):
    house, _ = world
    curve = house.snapshots.read(house.snapshots.head("evaluation/covid_crash/signal_ml"))
    fills = house.snapshots.read(house.snapshots.head("evaluation/covid_crash/signal_ml/fills"))
    parts = house.snapshots.read(house.snapshots.head("explanations/signal_classifier"))
    assert curve.column_names == ["date", "equity", "cash", "exposure", "turnover"]
    assert fills.column_names == ["date", "symbol", "quantity", "price", "cost", "weight"]
    assert parts.column_names == [
        "symbol",
        "date",
        "event_at",
        "base",
        "margin",
        *(f"shap_{f}" for f in MODEL.features),
    ]


def test_the_report_names_the_model_the_data_and_the_code_it_came_from(world):
    house, _ = world
    inputs = house.reports.latest("covid_crash").inputs
    assert inputs["market/bars"] == house.snapshots.head("market/bars").fingerprint
    assert inputs["models/signal_classifier"] == house.models.trained.fingerprint
    assert inputs["scenarios/covid_crash"] == SCENARIO.fingerprint
    assert {"code/evaluation", "code/report", "strategies/signal_ml", "explanations/signal_classifier"} <= set(inputs)


def test_the_pages_show_numbers_and_curves(world):
    _, result = world
    evaluated = metadata_of(result, "evaluation/covid_crash/sma_crossover")
    assert evaluated["equity"].startswith("![plot](data:image/png")
    assert "Sharpe ratio" in evaluated["metrics"]
    reported = metadata_of(result, "reports/covid_crash")
    assert reported["kpis"]["covid_crash.buy_and_hold.trades"] == 0
    explained = metadata_of(result, "explanations/signal_classifier")
    assert explained["beeswarm"].startswith("![plot](data:image/png")


def test_running_again_changes_nothing(world):
    house, _ = world
    before = (house.reports.latest("covid_crash"), len(list(house.ledger.entries())))
    assert run(house).success
    assert (house.reports.latest("covid_crash"), len(list(house.ledger.entries()))) == before


def test_a_sealed_report_drafts_its_sign_off_and_asks_nobody_yet(world):
    house, _ = world
    (drafted,) = house.approvals.list(subject="reports/covid_crash")
    sealed = house.reports.latest("covid_crash")
    assert (drafted.state, drafted.tier, drafted.quorum) == (State.DRAFT, MODEL.tier, 2)
    assert house.approvals.queue() == []
    assert [(one.principal, one.duty.value) for one in drafted.parties] == [
        ("dagster", "author"),
        ("dagster", "launcher"),
    ]
    parts = {part.name: (part.kind.value, part.fingerprint) for part in drafted.evidence.parts}
    gates = house.reports.record(sealed.sha256)["scenario"]["gates"]
    assert parts["record"] == ("report", sealed.sha256)
    assert parts["page"] == ("report", sealed.html_sha256)
    assert parts["gates"] == ("thresholds", fingerprint(gates))
    assert parts["input.market/bars"] == ("data", house.snapshots.head("market/bars").fingerprint)
    assert parts["tier_rule"][0] == "policy"
    assert {name for name in parts if name.startswith("input.")} == {f"input.{name}" for name in sealed.inputs}


def test_a_new_seal_voids_the_sign_off_of_the_old_one_and_says_what_moved(tmp_path):
    house = build_house(tmp_path)
    fill(house)
    assert run(house).success
    (first,) = house.approvals.list()
    house.approvals.submit(first.id, by=ACTOR)
    fill(house, seed=6)
    assert run(house).success
    void, drafted = sorted(house.approvals.list(), key=lambda one: one.state is State.DRAFT)
    assert (void.id, void.state, drafted.state) == (first.id, State.REVOKED, State.DRAFT)
    moved = {words.split(" ")[0] for words in void.moved}
    assert {"record", "input.predictions/signal_classifier"} <= moved
    assert not moved & {"gates", "tier_rule", "input.market/bars"}


def test_another_folder_gives_the_same_report(world, tmp_path):
    house, _ = world
    other = build_house(tmp_path)
    fill(other)
    assert run(other).success
    here, there = (one.reports.latest("covid_crash") for one in (house, other))
    assert (here.sha256, here.html_sha256) == (there.sha256, there.html_sha256)


def test_predictions_the_model_was_fitted_on_fail_the_blocking_check(tmp_path):
    house = build_house(tmp_path)
    fill(house, seen_fold="train")
    result = run(house, "evaluation/covid_crash/signal_ml")
    checks = checks_of(result)
    assert checks["evaluation/covid_crash/signal_ml", "out_of_sample"] is False
    assert checks["evaluation/covid_crash/signal_ml", "prefix_invariance"] is True


def test_a_report_over_explanations_of_another_model_is_refused(tmp_path, world):
    house = build_house(tmp_path)
    fill(house)
    assert run(house, *(f"evaluation/covid_crash/{name}" for name in STRATEGIES)).success
    house.models.trained = type(house.models.trained)(version=2, fingerprint="f" * 64, text=house.models.trained.text)
    assert run(house, "explanations/signal_classifier").success
    result = run(house, "reports/covid_crash")
    assert not result.success
    assert "explains another version" in str(result.failure_data_for_node("reports__covid_crash").error.cause)
    assert house.reports.find_latest("covid_crash") is None


def test_missing_bars_leave_earlier_results_untouched(tmp_path):
    house = build_house(tmp_path)
    fill(house)
    assert run(house, "evaluation/covid_crash/buy_and_hold").success
    before = house.snapshots.head("evaluation/covid_crash/buy_and_hold")
    bars = pl.DataFrame(pl.from_arrow(house.snapshots.read(house.snapshots.head("market/bars"))))
    holed = bars.filter(~((pl.col("symbol") == "AAPL") & (pl.col("date").dt.to_string() == "2020-03-16")))
    provenance = Provenance(code_version="1", inputs={})
    house.snapshots.publish("market/bars", holed.to_arrow(), provenance=provenance, actor="dagster")
    result = run(house, "evaluation/covid_crash/buy_and_hold")
    assert not result.success
    assert house.snapshots.head("evaluation/covid_crash/buy_and_hold") == before


def test_every_asset_says_who_owns_it_and_where_it_is_declared():
    for asset in definitions().assets:
        for spec in asset.specs:
            assert spec.owners, spec.key
            assert spec.group_name == "evaluation"
            assert spec.kinds
            assert spec.description
            assert spec.code_version
            assert spec.automation_condition
            (reference,) = spec.metadata["dagster/code_references"].code_references
            assert "/catalog/" in reference.file_path


def test_the_graph_runs_from_bars_and_predictions_to_the_report():
    graph = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for asset in definitions().assets
        for spec in asset.specs
    }
    assert graph["evaluation/covid_crash/buy_and_hold"] == {"market/bars"}
    assert graph["evaluation/covid_crash/signal_ml"] == {"market/bars", "predictions/signal_classifier"}
    assert graph["reports/covid_crash"] == {
        "evaluation/covid_crash/buy_and_hold",
        "evaluation/covid_crash/sma_crossover",
        "evaluation/covid_crash/signal_ml",
        "explanations/signal_classifier",
    }


def test_the_nightly_replay_runs_in_new_york_time_and_is_on():
    (schedule,) = evaluation_definitions(SCENARIO, STRATEGIES, MODELS).schedules
    assert schedule.name == "nightly_replay_covid_crash"
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_gate_on_an_unknown_metric_stops_the_definitions():
    faulty = scenario(gates=[{"metric": "sharp_ratio", "at_least": 1}])
    with pytest.raises(UnknownReference, match="sharpe_ratio"):
        evaluation_definitions(faulty, STRATEGIES, MODELS)


def test_importing_the_graph_imports_nothing_heavy():
    heavy = ["pandas", "pyarrow", "mlflow", "shap", "lightgbm", "matplotlib", "sklearn", "evidently", "numba"]
    program = f"import sys, mlops_assets.evaluation.assets; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
